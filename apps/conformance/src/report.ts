/** What the page tells the process that opened it: a start, every check, and an end, with the error that ended it if there was one. */
export type Report =
  | { readonly kind: "start"; readonly description: string }
  | { readonly kind: "check"; readonly name: string; readonly milliseconds: number; readonly failure?: string }
  | { readonly kind: "end"; readonly error?: string };
