import { Option } from "@commander-js/extra-typings";
import { examples, output, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of measurements are called with. */

const trueOrFalse = <Flags extends string>(flags: Flags, description: string) =>
  new Option(flags, description).choices(["true", "false"] as const);

export const mrCommand = (parent: Parent) =>
  parent
    .command("mr")
    .summary("compute the registers that a VM of an image must show")
    .description(
      "MRTD and RTMR0 to RTMR2 from an image's files and the shape of the VM. Nothing is booted. Without a command it measures: see dstack mr measure --help.",
    )
    .addHelpText(
      "before",
      examples([
        "dstack mr --image ~/.cache/dstack/images/dstack-sim-0.6.0 --vcpu 2 --memory 2G --qemu-version 10.0.2",
        "dstack mr measure --help",
      ]),
    );

export const mrMeasureCommand = (parent: Parent) =>
  parent
    .command("measure [metadata.json]", { isDefault: true })
    .summary("print MRTD, RTMR0, RTMR1, RTMR2 and the image's hash")
    .option("--image <dir>", "image folder, instead of the path of its metadata.json")
    .option("-c, --cpu <n>", "virtual CPUs (1)")
    .option("--vcpu <n>", "the same as --cpu")
    .option("-m, --memory <size>", "memory: bytes, 0x..., or with K, M, G or T", "2G")
    .addOption(
      trueOrFalse(
        "--two-pass-add-pages <bool>",
        "whether firmware pages are measured in a second pass (by QEMU version)",
      ),
    )
    .addOption(trueOrFalse("--pic <bool>", "whether the VM has a PIC (by QEMU version)"))
    .option("--smm", "the VM has system management mode")
    .option("--hugepages", "the VM has huge pages and one NUMA node")
    .option("--hotplug-off", "the VM has no PCI hotplug")
    .option("--pci-hole64-size <size>", "size of the 64-bit PCI window")
    .option("--num-gpus <n>", "GPUs", "0")
    .option("--num-nvswitches <n>", "NVLink switches", "0")
    .option("--num-nics <n>", "network devices", "1")
    .option("--num-verity-volumes <n>", "read-only volumes", "0")
    .addOption(trueOrFalse("--root-verity <bool>", "whether the root file system is a disk of its own").default("true"))
    .option("--qemu-version <x.y.z>", "QEMU of the host (9.1.0)")
    .option(
      "--dstack-os-version <x.y.z>",
      "version of the image, where its metadata.json does not tell which firmware it has",
    )
    .option("--ovmf-variant <name>", "pre202505, or stable202505 for the firmware of image 0.5.10")
    .option(
      "--unpatched-kernel",
      "RTMR1 of hosts whose QEMU leaves the kernel's header alone (10 and newer, confidential guests)",
    )
    .option("--swtpm", "the VM has a software TPM")
    .option("--json", "the same as -o json")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack mr --image ~/.cache/dstack/images/dstack-sim-0.6.0 --vcpu 2 --memory 2G --qemu-version 10.0.2",
        "dstack mr -c 4 -m 8G --json dstack-0.5.5/metadata.json",
      ]),
    );
export type MrMeasureOptions = OptionsOf<typeof mrMeasureCommand>;

export const mrDiagnoseCommand = (parent: Parent) =>
  parent
    .command("diagnose")
    .summary("explain why a quote's registers differ from the expected ones")
    .description(
      "Print the expected registers and RTMR0's events, and say which register of a quote differs first, and where. Exit code 3 where one differs.",
    )
    .requiredOption("--vm-config <file>", "the VM configuration (JSON) that the guest reported")
    .option("--image-dir <dir>", "image folder")
    .option(
      "--image-base-dir <dir>",
      "folder of image folders; the one with the configuration's os_image_hash is taken",
    )
    .option("--actual-mrtd <hex>", "MRTD of the quote")
    .option("--actual-rtmr0 <hex>", "RTMR0 of the quote")
    .option("--actual-rtmr1 <hex>", "RTMR1 of the quote")
    .option("--actual-rtmr2 <hex>", "RTMR2 of the quote")
    .option("--actual-event-log <file>", "the guest's event log (JSON)")
    .option("--json", "the same as -o json")
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack mr diagnose --vm-config vm_config.json --image-dir dstack-0.6.0 --actual-rtmr0 68102e7b... --actual-event-log event_log.json",
      ]),
    );
export type MrDiagnoseOptions = OptionsOf<typeof mrDiagnoseCommand>;

export const composeCommand = (parent: Parent) => parent.command("compose").summary("look into an app's manifest");

export const composeHashCommand = (parent: Parent) =>
  parent
    .command("hash <file>")
    .summary("print the compose hash of an app-compose.json")
    .description("The SHA-256 of the file's bytes: what a guest measures, a KMS asks for and an allow-list holds.")
    .option("--normalised", "instead the hash that client libraries compute: keys sorted, compact JSON; never measured")
    .option(
      "--drop-unused",
      "with --normalised: leave out what the runner does not use, as the libraries' `normalize` does",
    )
    .addOption(output())
    .addHelpText(
      "before",
      examples(["dstack compose hash app-compose.json", "dstack compose hash app-compose.json --normalised -o json"]),
    );
export type ComposeHashOptions = OptionsOf<typeof composeHashCommand>;
