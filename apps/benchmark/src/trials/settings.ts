/** A setting of a trial. */
export type Setting = number | string | boolean;

/** Settings by name. */
export type Settings = Readonly<Record<string, Setting>>;

/**
 * A setting from its text. The default says which type is meant; where the default is a word such as "auto", a number may stand too.
 * @returns undefined if the text is no value of that type.
 */
export function parseSetting(text: string, like: Setting): Setting | undefined {
  const number = text.trim() === "" ? NaN : Number(text);
  switch (typeof like) {
    case "number":
      return Number.isFinite(number) ? number : undefined;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : undefined;
    case "string":
      return Number.isFinite(number) ? number : /^[^\s:;=]+$/.test(text) ? text : undefined;
  }
}

/** The settings with names in alphabetical order, upper and lower case alike. */
export function sortSettings(settings: Settings): Settings {
  const key = (name: string): string => name.toLowerCase();
  return Object.fromEntries(
    Object.entries(settings).sort(([a], [b]) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a < b ? -1 : 1)),
  );
}

/** Whether two sets of settings have the same names and values. */
export function sameSettings(a: Settings, b: Settings): boolean {
  return JSON.stringify(sortSettings(a)) === JSON.stringify(sortSettings(b));
}

/**
 * Whether a row of the same trial has the values of today's settings. A setting that came later has its default then, since
 * a trial's string names all that differ from it; a default that changed, or a setting that is gone, is another trial.
 */
export const hasValuesOf = (row: Settings, today: Settings): boolean =>
  Object.entries(row).every(([name, value]) => JSON.stringify(today[name]) === JSON.stringify(value));
