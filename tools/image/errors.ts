/** Why an image could not be made or written: a permanent `code`, and what was tried, on what, why not. */
export class ImageError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ImageError";
    this.code = code;
  }
}
