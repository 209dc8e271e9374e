import { CodedError, type ErrorTable } from "@dstack/errors";

export const VMM_ERRORS = {
  "config-invalid": {
    meaning: "a setting or option of the VMM cannot be used",
    next: "change the key that the text names in vmm.toml and start the VMM again",
  },
  "request-invalid": {
    meaning: "the request has a value that cannot be used",
    next: "change the field that the text names and send it again; `dstack deploy --help` says what the fields take",
  },
  "not-found": {
    meaning: "no VM has this id or name",
    next: "`dstack apps` lists the VMs that there are, with their ids",
  },
  "no-version": {
    meaning: "no version of the app is kept that could be put back",
    next: "nothing to put back: a version is kept from the first update on; deploy the wanted one (`dstack deploy`)",
  },
  conflict: {
    meaning: "the id, port or state is taken by something else",
    next: "`dstack apps` shows who has it; stop that one (`dstack stop`) or ask for another",
  },
  unsupported: {
    meaning: "the request asks for what this VMM or the image does not do",
    next: "leave out what the text names, or set the key that it names in vmm.toml",
  },
  "image-unusable": {
    meaning: "the image is missing or cannot be used",
    next: "`dstack image list` shows the images, `dstack image build` makes one",
  },
  "vm-broken": {
    meaning: "the VM's files cannot be used",
    next: "restore the file in the VM's folder (run_path in vmm.toml) from a backup, or give the VM up with `dstack rm`",
  },
  "pool-exhausted": {
    meaning: "no CID or port is free",
    next: "remove VMs (`dstack rm`), or raise cvm.cid_pool_size in vmm.toml and start the VMM again",
  },
  "supervisor-failed": {
    meaning: "the supervisor did not answer, or refused",
    next: "`ls -l` on supervisor.sock of vmm.toml shows whether it runs; its log says why not; start the VMM again",
  },
  "qemu-unusable": {
    meaning: "no QEMU that can run the VM was found",
    next: "`dstack doctor` shows which QEMU is found; install one, or set cvm.qemu_path in vmm.toml",
  },
  "disk-failed": {
    meaning: "the VM's disk could not be made, or the host's disk is full",
    next: "`df -h` on run_path of vmm.toml; free space, then `dstack start`",
  },
  "guest-unreachable": {
    meaning: "the guest, or the key provider, did not answer",
    next: "`dstack logs` shows the guest's console; `dstack start` where it does not run",
  },
} as const satisfies ErrorTable;

export type VmmErrorCode = keyof typeof VMM_ERRORS;

/** Every refusal and failure of the VMM. Match on `code`; its text goes to the caller. */
export class VmmError extends CodedError<VmmErrorCode> {}
