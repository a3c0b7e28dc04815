/** In the page, charts are drawn into its own document; in Node the package of this function's name makes one. */
export const parseHTML = (_html: string): { readonly document: Document } => ({ document });
