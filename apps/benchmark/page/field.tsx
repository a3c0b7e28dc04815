/** Labelled controls. */
import type { ComponentChildren } from "preact";

/** A control with its name above it. */
export function Field({ label, children }: { readonly label: string; readonly children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{label}</span>
      {children}
    </label>
  );
}

/** What {@link Slider} needs. */
export interface SliderProps {
  readonly label: string;
  readonly value: number;
  readonly least: number;
  readonly most: number;
  readonly step?: number;
  /** The value as text beside the name. */
  readonly show?: string;
  readonly change: (value: number) => void;
}

/** A number by dragging, or by the arrow keys. */
export function Slider({ label, value, least, most, step = 1, show = String(value), change }: SliderProps) {
  return (
    <label class="field slider">
      <span>
        {label}: <output>{show}</output>
      </span>
      <input
        type="range"
        min={least}
        max={most}
        step={step}
        value={value}
        aria-label={label}
        onInput={(event) => change(event.currentTarget.valueAsNumber)}
      />
    </label>
  );
}

/** What {@link Choice} needs. */
export interface ChoiceProps<T extends string> {
  readonly label: string;
  readonly value: T;
  readonly options: readonly T[];
  /** Texts that differ from the options themselves. */
  readonly names?: Readonly<Partial<Record<T, string>>>;
  readonly change: (value: T) => void;
  readonly disabled?: boolean;
}

/** One out of a list. */
export function Choice<T extends string>({ label, value, options, names, change, disabled }: ChoiceProps<T>) {
  return (
    <Field label={label}>
      <select value={value} disabled={disabled} onChange={(event) => change(event.currentTarget.value as T)}>
        {options.map((option) => (
          <option key={option} value={option}>
            {names?.[option] ?? option}
          </option>
        ))}
      </select>
    </Field>
  );
}
