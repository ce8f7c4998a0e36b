/** One file of the project's assets, as it lies in the component. */
export class Asset {
  constructor(readonly contentType: string, readonly etag: string, private content: StaticArray<u8>) {}

  get bytes(): Uint8Array {
    const bytes = new Uint8Array(this.content.length);
    memory.copy(bytes.dataStart, changetype<usize>(this.content), this.content.length);
    return bytes;
  }
}
