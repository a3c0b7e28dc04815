/** Rows that `rowProgram` takes at most: each has sums in every thread. A module of its own: callers ask before they load programs. */
export const MOST_ROWS = 8;
