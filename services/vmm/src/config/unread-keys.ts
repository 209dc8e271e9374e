import { refused, silent, told, type UnreadKey } from "@dstack/config";
import { z } from "zod";

const text = z.string();
const list = z.array(text);
const whole = z.number().int();
const anything = z.unknown();

const TUNING = "it tunes what is built differently here";
const NO_FILTER = "it says how to filter, and the mode that would is refused";
const PASST = "it belongs to passt, and the mode `passt` is refused";

/** Keys of 0.5.5, 0.5.6 and 0.6.0 that this VMM does not act on. */
export const UNREAD_KEYS: readonly UnreadKey[] = [
  silent("workers", whole, TUNING),
  silent("max_blocking", whole, TUNING),
  silent("ident", text, TUNING),
  silent("temp_dir", text, TUNING),
  silent("keep_alive", whole, TUNING),
  // Released files say "debug", and mean the web framework.
  told("log_level", text, ["debug", "info"], "DSTACK_LOG_LEVEL alone sets the level of the log"),
  silent("reuse", z.boolean(), TUNING),
  refused(
    "tls",
    anything,
    [],
    "the API is served without TLS; listen on a Unix socket or loopback, or put a proxy in front",
  ),
  refused(
    "cvm.network_filter.mode",
    z.enum(["none", "libvirt"]),
    ["none"],
    "VMs' network devices are not filtered, so one could take another's addresses",
  ),
  silent("cvm.network_filter.filter", text, NO_FILTER),
  silent("cvm.network_filter.parameters", z.record(text, text), NO_FILTER),
  told("netd.socket", text, ["/run/dstack/netd.sock"], "no network broker is used"),
  refused("netd.allowed_uids", z.array(whole), [[]], "no network broker is used, so it admits and refuses nobody"),
  told("netd.libvirt_uri", text, ["qemu:///system"], "no network broker is used"),
  refused("cvm.volumes_dir", text, [""], "verity volumes are not supported, so nothing would check what is in them"),
  refused(
    "cvm.networking.forward_service_enabled",
    z.boolean(),
    [false],
    "ports of VMs on a bridge are not forwarded; use `cvm.port_mapping` with mode `user`",
  ),
  told("image.registry", text, [""], "images are not pulled from registries"),
  silent("cvm.instance_id", text, "it names network devices of a mode that is not supported"),
  silent("cvm.networking.passt_exec", text, PASST),
  silent("cvm.networking.interface", text, PASST),
  silent("cvm.networking.address", text, PASST),
  silent("cvm.networking.netmask", text, PASST),
  silent("cvm.networking.gateway", text, PASST),
  silent("cvm.networking.dns", list, PASST),
  refused("cvm.networking.map_host_loopback", text, ["none"], PASST),
  refused("cvm.networking.map_guest_addr", text, ["none"], PASST),
  refused("cvm.networking.no_map_gw", z.boolean(), [true], PASST),
  refused("cvm.networking.ipv4_only", z.boolean(), [true], PASST),
  silent("cvm.gpu.listing", list, "GPUs are not supported"),
  refused("cvm.gpu.exclude", list, [[]], "GPUs are not supported"),
  refused("cvm.gpu.include", list, [[]], "GPUs are not supported"),
];
