/** The page's address says what it shows: a view, and for training the trials, so that a link is all there is to share. */

/** The views, in the order of their tabs. */
export const views = ["train", "state", "memory", "duality"] as const;

/** A view of the page. */
export type View = (typeof views)[number];

/** What an address says. */
export interface Address {
  readonly view: View;
  /** Identities of the trials, e.g. "selective-copying:mamba:dModel=64;L=40;seed=0". */
  readonly trials: readonly string[];
  /** Name of the device; "auto" takes WebGPU where there is a GPU. */
  readonly device: DeviceChoice;
}

/** Devices to choose from. */
export const deviceChoices = ["auto", "webgpu", "cpu"] as const;

/** One of {@link deviceChoices}. */
export type DeviceChoice = (typeof deviceChoices)[number];

/** Reads the part behind the hash; what it does not know is left at its default. */
export function parseAddress(hash: string): Address {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const search = new URLSearchParams(query);
  const device = search.get("device");
  return {
    view: views.find((view) => view === path) ?? "train",
    trials: search.getAll("trial"),
    device: deviceChoices.find((each) => each === device) ?? "auto",
  };
}

/** The hash that {@link parseAddress} reads back. Identities stay legible: what an address may hold is not escaped. */
export function formatAddress({ view, trials, device }: Address): string {
  const legible = (text: string): string =>
    encodeURIComponent(text).replaceAll("%3A", ":").replaceAll("%3B", ";").replaceAll("%3D", "=");
  const query = [
    ...trials.map((trial) => `trial=${legible(trial)}`),
    ...(device === "auto" ? [] : [`device=${device}`]),
  ].join("&");
  return `#/${view}${query === "" ? "" : `?${query}`}`;
}
