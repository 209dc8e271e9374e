/** The kernel command line of our images, exactly as it is measured (the firmware adds ` initrd=initrd`). */
export function kernelCmdline(rootHashHex: string, rootSizeBytes: number): string {
  return [
    "console=ttyS0 init=/init panic=1 net.ifnames=0 biosdevname=0 mce=off oops=panic pci=noearly pci=nommconf",
    "random.trust_cpu=y random.trust_bootloader=n tsc=reliable no-kvmclock",
    `dstack.rootfs_hash=${rootHashHex} dstack.rootfs_size=${rootSizeBytes}`,
    "dstack.storage_fs=ext4",
  ].join(" ");
}
