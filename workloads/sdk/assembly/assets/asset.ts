/** One file of the project's assets, as it lies in the component. */
export class Asset {
  constructor(readonly contentType: string, readonly etag: string, private content: StaticArray<u8>) {}

  /** A copy of the file: what is done to it changes nothing for the next request. */
  get bytes(): Uint8Array {
    const bytes = new Uint8Array(this.content.length);
    memory.copy(bytes.dataStart, changetype<usize>(this.content), this.content.length);
    return bytes;
  }
}
