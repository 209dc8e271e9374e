/**
 * The keys of a compose file, and the types of their values, as docker compose 2.26.1 of the guest
 * image takes them: what this refuses it refuses, and nothing else. The corpus test holds both
 * side by side. A key that is added here must be known to the image's docker compose.
 */
import { listOf, mapOf, mapping, oneOf, orNothing, scalar, type Shape } from "./shape.ts";
import { NAME, service } from "./service.ts";
import { flag, pairs, text, textOrNumber, textOrList } from "./values.ts";

const external = oneOf({ scalar: flag, map: mapping({ name: text }) });
const options = mapOf(textOrNumber);

const network = orNothing(
  mapping({
    name: text,
    driver: text,
    driver_opts: options,
    ipam: mapping({
      driver: text,
      config: listOf(mapping({ subnet: text, ip_range: text, gateway: text, aux_addresses: mapOf(text) })),
      options: mapOf(text),
    }),
    external,
    internal: flag,
    enable_ipv4: flag,
    enable_ipv6: flag,
    attachable: flag,
    labels: pairs,
  }),
);
const volume = orNothing(mapping({ name: text, driver: text, driver_opts: options, external, labels: pairs }));
const openExternal = oneOf({ scalar: flag, map: mapping({ name: text }, { isOpen: true }) });
const secret = mapping({
  name: text,
  environment: text,
  file: text,
  external: openExternal,
  labels: pairs,
  driver: text,
  driver_opts: options,
  template_driver: text,
});
const config = mapping({
  name: text,
  content: text,
  environment: text,
  file: text,
  external: openExternal,
  labels: pairs,
  template_driver: text,
});

export const composeFile: Shape = mapping({
  version: scalar("a text; put it into quotes", (value) => typeof value === "string"),
  name: text,
  include: orNothing(
    listOf(
      oneOf({
        scalar: text,
        map: mapping({ path: textOrList, env_file: textOrList, project_directory: text }, { extensions: false }),
      }),
    ),
  ),
  services: mapOf(service, NAME),
  // A name that can be none is not looked into.
  networks: mapOf(network, NAME, () => undefined),
  volumes: mapOf(volume, NAME),
  secrets: mapOf(secret, NAME),
  configs: mapOf(config, NAME),
});
