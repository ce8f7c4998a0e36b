/**
 * What the image is made of besides our own sources, each by name, version and SHA-256: nothing comes from the build host's own
 * libraries. `godwit image build --update-pins` writes this table anew from what the host's package lists offer.
 */
export type Pin = { readonly name: string; readonly version: string; readonly sha256: string };

/** On the image. */
export const LIBRARIES: readonly Pin[] = [
  { name: "libc6", version: "2.36-9+deb12u14", sha256: "ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf" },
  { name: "libstdc++6", version: "12.2.0-14+deb12u1", sha256: "5cd3171216d4ab0fc911cfe9c35509bf2dd8f47761c43b7f6a4296701551a24d" },
  { name: "libgcc-s1", version: "12.2.0-14+deb12u1", sha256: "3016e62cb4b7cd8038822870601f5ed131befe942774d0f745622cc77d8a88f7" },
  { name: "libatomic1", version: "12.2.0-14+deb12u1", sha256: "fbd4e154a6b444229ea002cc209df099209c0adc09102e5fd21239a3d2b55e2d" },
];
/** PID 1 has what it needs of these inside: it is linked to nothing. */
export const STATIC: readonly Pin[] = [
  { name: "libc6-dev", version: "2.36-9+deb12u14", sha256: "0218fc2befcd784c1b0c6292c0a137ce89fad054efaa579ad083bee0f2c01aae" },
  { name: "libgcc-12-dev", version: "12.2.0-14+deb12u1", sha256: "d720259380a84f2ffc6fe516eff5cbe9c8a005138e8d6a5748747ba4b3404a82" },
];
/** Runs before the kernel: the part of the unified image that the firmware starts, and the loader of a stick for old firmware. */
export const LOADERS: readonly Pin[] = [
  { name: "systemd-boot-efi", version: "252.39-1~deb12u2", sha256: "8f2b81bdcfafc466882a0cae460272dbf10d8d97c6a3c1c6ea33038c155a2f5e" },
  { name: "syslinux", version: "3:6.04~git20190206.bf6db5b4+dfsg1-3+b1", sha256: "07a34a8b09e19ef44285d45c24aefd1119cf3c1580223cbca0dc58f8dd33ee33" },
  { name: "syslinux-common", version: "3:6.04~git20190206.bf6db5b4+dfsg1-3", sha256: "f7e4ead7fdfe5cb6117d8d2485d75e53570a8cf680c81a432f92c1774f878875" },
];
/** Run on the build host, with their own libraries: another release's would compress to other bytes. */
export const TOOLS: readonly Pin[] = [
  { name: "squashfs-tools", version: "1:4.5.1-1", sha256: "3f96b16c9b985ea03cf70f90a05f4dc5c15039e845326f8f4293a3280fd0b2f4" },
  { name: "libzstd1", version: "1.5.4+dfsg2-5", sha256: "6315b5ac38b724a710fb96bf1042019398cb656718b1522279a5185ed39318fa" },
  { name: "zlib1g", version: "1:1.2.13.dfsg-1", sha256: "d7dd1d1411fedf27f5e27650a6eff20ef294077b568f4c8c5e51466dc7c08ce4" },
  { name: "liblzma5", version: "5.4.1-1+deb12u2", sha256: "3d8c29c8c21ec6007635e1b2591edf98b771c9572a085968f47452b33040f384" },
  { name: "liblzo2-2", version: "2.10-2", sha256: "4f08e092c76e425295a498cd547dc9b8f6a595473f3020ab8c96309b29872636" },
  { name: "mtools", version: "4.0.33-1+really4.0.32-1", sha256: "972e0857ff43dbfc4c9255844c97b5d2cb0287720216d04c95b4e7fa483aec99" },
  { name: "liblz4-1", version: "1.9.4-1", sha256: "64cde86cef1deaf828bd60297839b59710b5cd8dc50efd4f12643caaee9389d3" },
];
export const KERNEL_SOURCE: Pin = { name: "linux-source-6.12", version: "6.12.117-1~deb12u1", sha256: "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703" };

export const ALL_PINS: readonly Pin[] = [...LIBRARIES, ...STATIC, ...LOADERS, ...TOOLS, KERNEL_SOURCE];
