/** Numbers as people read them. */
import type { Spread } from "../results/cells.js";

/** "1,234,567". */
export const formatCount = (value: number): string => Math.round(value).toLocaleString("en-US");

/** Powers of 1024: "512 B", "66 KiB", "1.5 MiB". */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const short = (value: number): number => Number(value.toFixed(1));
  return bytes < 2 ** 20 ? `${short(bytes / 1024)} KiB` : `${short(bytes / 2 ** 20)} MiB`;
}

/** "0:07", "12:34", "1:02:03". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number): string => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A metric with its unit: "97.7 %", "2.413 bits", "0.0312". */
export function formatMetric(name: string, value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "-";
  if (name === "nmse") return value.toPrecision(3);
  return name === "accuracy" ? `${(value * 100).toFixed(1)} %` : `${value.toFixed(3)} bits`;
}

/** "97.2 % ± 0.4". */
export function formatSpread(metric: string, spread: Spread | undefined): string {
  if (!spread) return "-";
  const mean = formatMetric(metric, spread.mean);
  if (spread.values.length < 2) return mean;
  return `${mean} ± ${metric === "accuracy" ? (spread.deviation * 100).toFixed(1) : spread.deviation.toPrecision(2)}`;
}
