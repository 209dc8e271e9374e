import { equalBytes } from "@dstack/bytes";
import type { AppCompose } from "@dstack/compose";

/** What becomes of the data disk at the next boot. */
export interface DiskForecast {
  readonly opens: "new" | "yes" | "no";
  readonly reason: string;
  /** Whether every instance of the app, on every host, has the same disk key. */
  readonly isKeyShared: boolean;
}

export interface DiskInputs {
  readonly wanted: AppCompose;
  /** The manifest under which the disk was made; undefined where there is no disk yet. */
  readonly present: AppCompose | undefined;
  /** Whether the manifest's bytes stay as they are. */
  readonly isSameVersion: boolean;
  readonly isSameImage: boolean;
}

/**
 * Whether the disk opens with the key that the next boot gets. KMS: the key comes of app id and instance id alone,
 * so any version opens it. Local: of all measurements, so only the very same version does. TPM: sealed to firmware
 * and kernel. None: made anew at each boot. Pure.
 */
export function forecastDisk(inputs: DiskInputs): DiskForecast {
  const { wanted, present } = inputs;
  const isKeyShared = wanted.keyProvider === "kms" && wanted.noInstanceId;
  const no = (reason: string): DiskForecast => ({ opens: "no", reason, isKeyShared });
  if (present === undefined) return { opens: "new", reason: madeText(wanted), isKeyShared };
  if (present.keyProvider !== wanted.keyProvider)
    return no(`its key came from key provider ${present.keyProvider}, the new version asks ${wanted.keyProvider}`);
  if (present.storageFs !== undefined && wanted.storageFs !== undefined && present.storageFs !== wanted.storageFs)
    return no(`it holds ${present.storageFs}, the new version asks for ${wanted.storageFs}`);
  if (
    !equalBytes(present.keyProviderId, wanted.keyProviderId) &&
    wanted.keyProviderId.length > 0 &&
    present.keyProviderId.length > 0
  )
    return no("the new version pins another key provider, and its keys differ");
  switch (wanted.keyProvider) {
    case "kms":
      return present.noInstanceId === wanted.noInstanceId
        ? { opens: "yes", reason: "the KMS derives its key from app id and instance id, which stay", isKeyShared }
        : no("no_instance_id changes, and with it the id that the KMS derives its key from");
    case "local":
      return inputs.isSameVersion && inputs.isSameImage
        ? {
            opens: "yes",
            reason: "the local key provider derives its key from the measurements, which stay",
            isKeyShared,
          }
        : no("the local key provider derives its key from the measurements, which change with every version");
    case "tpm":
      return inputs.isSameImage
        ? { opens: "yes", reason: "its key is sealed to firmware and kernel, which stay", isKeyShared }
        : no("its key is sealed to firmware and kernel of the image that it was made with");
    case "none":
      return no("without a key provider its key is made anew at each boot");
  }
}

function madeText({ keyProvider, noInstanceId }: AppCompose): string {
  switch (keyProvider) {
    case "kms":
      return `made at first boot; the KMS derives its key from ${noInstanceId ? "the app id alone" : "app id and instance id"}`;
    case "local":
      return "made at first boot; the local key provider derives its key from the measurements, so no later version opens it";
    case "tpm":
      return "made at first boot; its key is sealed in the TPM";
    case "none":
      return "made at first boot; its key is lost when the VM stops";
  }
}
