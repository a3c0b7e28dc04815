/** A mistake in what the user asked for: reported in one sentence, exit code 2, nothing was changed. */
export class UsageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "UsageError";
  }
}

/** What a thrown thing says, in one line. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
