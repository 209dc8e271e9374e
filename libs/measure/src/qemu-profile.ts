import { MeasureError } from "./errors.ts";

/** Where the ACPI tables of QEMU's q35 machine differ between its versions. */
export interface AcpiProfile {
  /** PCI interrupt links are level triggered, and the MADT overrides only the lines they use. */
  readonly levelTriggeredLinks: boolean;
  /** The slot's `_DSM` answers function 7 only when the slot has a device. */
  readonly dsmChecksSlot: boolean;
  /** A CPU scan collects removals and reports them after the additions. */
  readonly cpuEjectList: boolean;
  /** The CPU hotplug block resets its selector at start. */
  readonly cpuSelectorReset: boolean;
  /** The serial port declares the polarity and sharing of its interrupt. */
  readonly serialIrqFlags: boolean;
}

/** What a QEMU version decides when the VM configuration leaves it open. */
export interface QemuDefaults {
  readonly pic: boolean;
  readonly mrtdPass: "single" | "two";
  /** Upstream QEMU of this version hands the kernel of a confidential guest on as it is. */
  readonly mayLeaveKernel: boolean;
  readonly acpi: AcpiProfile;
}

const oldest: AcpiProfile = {
  levelTriggeredLinks: false,
  dsmChecksSlot: false,
  cpuEjectList: false,
  cpuSelectorReset: true,
  serialIrqFlags: false,
};
const since92: AcpiProfile = { ...oldest, levelTriggeredLinks: true, dsmChecksSlot: true };
const since10: AcpiProfile = { ...since92, cpuEjectList: true };
const since110: AcpiProfile = { ...since10, cpuSelectorReset: false };
const since111: AcpiProfile = { ...since110, serialIrqFlags: true };

/** A VM configuration without a version means this one. */
const ASSUMED_VERSION = "9.1.0";

/**
 * @param version `major.minor.patch`, exactly three numbers; absent means 9.1.0
 * @throws MeasureError `vm-config-invalid` on another form, `unsupported` below 8.0
 */
export function qemuDefaults(version: string = ASSUMED_VERSION): QemuDefaults {
  const parts = /^(\d{1,4})\.(\d{1,4})\.(\d{1,4})$/.exec(version);
  if (parts === null) {
    throw new MeasureError(
      "vm-config-invalid",
      `qemu_version: expected three numbers like 10.0.2, got ${JSON.stringify(version.slice(0, 40))}`,
    );
  }
  const [major, minor] = [Number(parts[1]), Number(parts[2])];
  if (major < 8) {
    throw new MeasureError("unsupported", `qemu_version: expected 8.0.0 or newer, got ${version}; use a newer QEMU`);
  }
  if (major === 8) return { pic: true, mrtdPass: "two", mayLeaveKernel: false, acpi: oldest };
  return { pic: false, mrtdPass: "single", mayLeaveKernel: major >= 10, acpi: profileSince9(major, minor) };
}

function profileSince9(major: number, minor: number): AcpiProfile {
  if (major === 9) return minor < 2 ? oldest : since92;
  if (major === 10) return since10;
  return major === 11 && minor === 0 ? since110 : since111;
}

/**
 * The `major.minor.patch` in what `qemu-system-x86_64 --version` prints, without a
 * distribution's suffix; undefined if there is none.
 */
export function qemuVersionIn(output: string): string | undefined {
  return /version (\d+\.\d+\.\d+)/.exec(output.slice(0, 400))?.[1];
}
