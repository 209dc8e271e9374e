/** The keys of a service, as docker compose 2.26.1 takes them. */
import { listOf, mapOf, mapping, oneOf, orNothing, scalar, setOf, type Shape } from "./shape.ts";
import {
  command,
  duration,
  flag,
  integer,
  loose,
  natural,
  number,
  pairs,
  size,
  sizeText,
  text,
  textOrNumber,
  textOrList,
  texts,
  wholeSize,
  word,
} from "./values.ts";

/** Names of services, networks and the like. */
export const NAME = /^[a-zA-Z0-9._-]+$/;

const bounded = (least: number, most = Number.MAX_SAFE_INTEGER): Shape =>
  scalar(`a whole number from ${least} to ${most}`, (value) => {
    const asNumber = typeof value === "string" && /^[-+]?\d+$/.test(value) ? Number(value) : value;
    return typeof asNumber === "number" && Number.isInteger(asNumber) && asNumber >= least && asNumber <= most;
  });

const ulimits = mapOf(
  oneOf({ scalar: integer, map: mapping({ soft: integer, hard: integer }, { required: ["soft", "hard"] }) }),
);
const extraHosts = oneOf({
  list: setOf(scalar("host=address", (value) => typeof value === "string" && /[:=]/.test(value))),
  map: mapOf(oneOf({ scalar: text, list: listOf(text) })),
});
const hook = mapping(
  { command, user: text, privileged: flag, working_dir: text, environment: pairs },
  { extensions: false },
);
const fileReference = listOf(
  oneOf({ scalar: text, map: mapping({ source: text, target: text, uid: text, gid: text, mode: integer }) }),
);
const weight = scalar("a number from 0", (value) => Number.isInteger(value) && Number(value) >= 0);
const blkioLimit = listOf(mapping({ path: text, rate: wholeSize }, { extensions: false }));
const deviceRequest = {
  capabilities: texts,
  count: scalar(
    "a whole number or all",
    (value) => value === "all" || Number.isInteger(value) || (typeof value === "string" && /^-?\d+$/.test(value)),
  ),
  device_ids: texts,
  driver: text,
  options: pairs,
};

export const build = oneOf({
  scalar: text,
  map: mapping({
    context: text,
    dockerfile: text,
    dockerfile_inline: text,
    entitlements: listOf(text),
    args: pairs,
    ssh: pairs,
    labels: pairs,
    cache_from: listOf(text),
    cache_to: listOf(text),
    no_cache: flag,
    additional_contexts: pairs,
    network: text,
    pull: flag,
    target: text,
    shm_size: wholeSize,
    extra_hosts: extraHosts,
    isolation: text,
    privileged: flag,
    secrets: fileReference,
    tags: listOf(text),
    ulimits,
    platforms: listOf(text),
  }),
});

const rollout = mapping({
  parallelism: natural,
  delay: duration,
  failure_action: text,
  monitor: duration,
  max_failure_ratio: number,
  order: word("start-first", "stop-first"),
});
const limits = { cpus: number, memory: sizeText };
const deploy = orNothing(
  mapping({
    mode: text,
    endpoint_mode: text,
    replicas: integer,
    labels: pairs,
    rollback_config: rollout,
    update_config: rollout,
    resources: mapping({
      limits: mapping({ ...limits, pids: integer }),
      reservations: mapping({
        ...limits,
        generic_resources: listOf(mapping({ discrete_resource_spec: mapping({ kind: text, value: number }) })),
        devices: listOf(mapping(deviceRequest, { required: ["capabilities"] })),
      }),
    }),
    restart_policy: mapping({ condition: text, delay: duration, max_attempts: natural, window: duration }),
    placement: mapping({
      constraints: listOf(text),
      preferences: listOf(mapping({ spread: text })),
      max_replicas_per_node: natural,
    }),
  }),
);

const develop = orNothing(
  mapping({
    watch: listOf(
      mapping(
        {
          ignore: listOf(text),
          path: text,
          action: word("rebuild", "sync", "restart", "sync+restart", "sync+exec"),
          target: text,
          exec: hook,
        },
        { required: ["path", "action"] },
      ),
    ),
  }),
);

const port = mapping({
  name: text,
  mode: text,
  host_ip: text,
  target: integer,
  published: scalar("a port or a range", (value) => typeof value === "string" || Number.isInteger(value)),
  protocol: text,
  app_protocol: text,
});

const volume = mapping(
  {
    type: text,
    source: text,
    target: text,
    read_only: flag,
    consistency: text,
    bind: mapping({
      propagation: text,
      create_host_path: flag,
      recursive: word("enabled", "disabled", "writable", "readonly"),
      selinux: word("z", "Z"),
    }),
    volume: mapping({ nocopy: flag, subpath: text }),
    tmpfs: mapping({ size, mode: integer }),
  },
  { required: ["type"] },
);

const network = orNothing(
  mapping({
    aliases: listOf(text),
    ipv4_address: text,
    ipv6_address: text,
    link_local_ips: listOf(text),
    mac_address: text,
    driver_opts: mapOf(textOrNumber),
    priority: scalar("a number", (value) => typeof value === "number"),
    gw_priority: scalar("a number", (value) => typeof value === "number"),
  }),
);

export const service: Shape = mapping({
  annotations: pairs,
  attach: flag,
  build,
  blkio_config: mapping(
    {
      device_read_bps: blkioLimit,
      device_read_iops: blkioLimit,
      device_write_bps: blkioLimit,
      device_write_iops: blkioLimit,
      weight,
      weight_device: listOf(mapping({ path: text, weight }, { extensions: false })),
    },
    { extensions: false },
  ),
  cap_add: listOf(text),
  cap_drop: listOf(text),
  cgroup: word("host", "private"),
  cgroup_parent: text,
  command,
  configs: fileReference,
  container_name: text,
  cpu_count: bounded(0),
  cpu_percent: bounded(0, 100),
  cpu_period: loose,
  cpu_quota: loose,
  cpu_rt_period: loose,
  cpu_rt_runtime: loose,
  cpu_shares: loose,
  cpus: number,
  cpuset: text,
  credential_spec: mapping({ config: text, file: text, registry: text }),
  depends_on: oneOf({
    list: texts,
    map: mapOf(
      mapping(
        {
          restart: flag,
          required: scalar("true or false", (value) => typeof value === "boolean"),
          condition: word("service_started", "service_healthy", "service_completed_successfully"),
        },
        { required: ["condition"] },
      ),
      NAME,
    ),
  }),
  deploy,
  develop,
  device_cgroup_rules: texts,
  devices: listOf(
    oneOf({
      scalar: text,
      map: mapping({ source: text, target: text, permissions: text }, { required: ["source", "target"] }),
    }),
  ),
  dns: textOrList,
  dns_opt: listOf(text),
  dns_search: textOrList,
  domainname: text,
  entrypoint: command,
  env_file: oneOf({
    scalar: text,
    list: listOf(
      oneOf({
        scalar: text,
        map: mapping({ path: text, format: text, required: flag }, { required: ["path"], extensions: false }),
      }),
    ),
  }),
  environment: pairs,
  expose: listOf(textOrNumber),
  extends: oneOf({
    scalar: text,
    map: mapping({ service: text, file: text }, { required: ["service"], extensions: false }),
  }),
  external_links: texts,
  extra_hosts: extraHosts,
  gpus: oneOf({ scalar: word("all"), list: listOf(mapping(deviceRequest, { isOpen: true })) }),
  group_add: setOf(textOrNumber),
  healthcheck: mapping({
    disable: flag,
    interval: duration,
    retries: natural,
    test: oneOf({ scalar: text, list: listOf(text) }),
    timeout: duration,
    start_period: duration,
    start_interval: duration,
  }),
  hostname: text,
  image: text,
  init: flag,
  ipc: text,
  isolation: text,
  label_file: oneOf({ scalar: text, list: listOf(text) }),
  labels: pairs,
  links: listOf(text),
  logging: mapping({
    driver: text,
    options: mapOf(scalar("a text or a number", (value) => value === null || typeof value !== "boolean")),
  }),
  mac_address: text,
  mem_limit: size,
  mem_reservation: size,
  mem_swappiness: size,
  memswap_limit: size,
  network_mode: text,
  networks: oneOf({ list: texts, map: mapOf(network, NAME) }),
  oom_kill_disable: flag,
  oom_score_adj: bounded(-1000, 1000),
  pid: text,
  pids_limit: loose,
  platform: text,
  ports: listOf(oneOf({ scalar: textOrNumber, map: port })),
  post_start: listOf(hook),
  pre_stop: listOf(hook),
  privileged: flag,
  profiles: listOf(text),
  pull_policy: word("always", "never", "if_not_present", "build", "missing"),
  read_only: flag,
  restart: text,
  runtime: text,
  scale: integer,
  secrets: fileReference,
  security_opt: texts,
  shm_size: size,
  stdin_open: flag,
  stop_grace_period: duration,
  stop_signal: text,
  storage_opt: mapOf(scalar("a single value", () => true)),
  sysctls: pairs,
  tmpfs: textOrList,
  tty: flag,
  ulimits,
  user: text,
  userns_mode: text,
  uts: text,
  volumes: listOf(oneOf({ scalar: text, map: volume })),
  volumes_from: texts,
  working_dir: text,
});
