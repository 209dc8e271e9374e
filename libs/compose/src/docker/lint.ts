import {
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
  type Pair,
  type YAMLMap,
} from "yaml";
import { utf8 } from "@dstack/bytes";
import { ComposeError } from "../errors.ts";

/** Most bytes of a docker-compose.yaml; what is larger belongs into an image. */
export const DOCKER_COMPOSE_MAX_BYTES = 4 * 1024 * 1024;

export interface Finding {
  /** An error cannot work in a guest; a warning works and deserves a look. */
  readonly severity: "error" | "warning";
  /** Where, e.g. `services.web.image`; empty for the whole file. */
  readonly path: string;
  readonly message: string;
  /** 1-based line in the file, where there is one. */
  readonly line: number | undefined;
}

/** What would fail or surprise when this docker-compose.yaml runs in a guest. Never throws. */
export function lintDockerCompose(yamlText: string): readonly Finding[] {
  const bytes = utf8(yamlText).length;
  if (bytes > DOCKER_COMPOSE_MAX_BYTES) {
    return [
      {
        severity: "error",
        path: "",
        line: undefined,
        message: `compose file has ${bytes} bytes, at most ${DOCKER_COMPOSE_MAX_BYTES} are accepted; put data into an image or a volume`,
      },
    ];
  }
  const lines = new LineCounter();
  const document = parseDocument(yamlText, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    return document.errors.slice(0, 20).map((error) => {
      const { line, col } = lines.linePos(error.pos[0]);
      return {
        severity: "error",
        path: "",
        line,
        message: `invalid YAML at line ${line}, column ${col}: ${error.message}`,
      };
    });
  }
  const lineOf = (node: unknown): number | undefined => {
    const range = (node as Node | null | undefined)?.range;
    return range === null || range === undefined ? undefined : lines.linePos(range[0]).line;
  };
  const found: Finding[] = [];
  const add = (severity: Finding["severity"], path: string, node: unknown, message: string): void =>
    void found.push({ severity, path, line: lineOf(node), message });
  const root = document.contents;
  if (!isMap(root)) {
    add("error", "", root, "not a compose file: expected a mapping with a `services` member");
    return found;
  }
  const services = document.get("services");
  if (!isMap(services) || services.items.length === 0) {
    add("error", "services", services, "compose file has no services; add at least one under `services:`");
    return found;
  }
  for (const pair of services.items as Pair[])
    lintService(String(isScalar(pair.key) ? pair.key.value : pair.key), pair.value, add);
  lintHostFiles(document, add);
  return found;
}

/** The images that the services name, in order, each once. @throws ComposeError `yaml-invalid` */
export function listImages(yamlText: string): readonly string[] {
  return [...new Set(imageScalars(yamlText).map(({ image }) => image))];
}

/**
 * Replaces image references in place, leaving every other byte of the file as it was.
 * @param pinned new reference by old one; others stay
 * @throws ComposeError `yaml-invalid`
 */
export function replaceImages(yamlText: string, pinned: ReadonlyMap<string, string>): string {
  let out = yamlText;
  for (const { image, start, end } of imageScalars(yamlText).toSorted((a, b) => b.start - a.start)) {
    const replacement = pinned.get(image);
    if (replacement === undefined) continue;
    if (!/^[\w./:@-]+$/.test(replacement))
      throw new ComposeError("yaml-invalid", `image reference ${JSON.stringify(replacement)}: unexpected characters`);
    out = out.slice(0, start) + replacement + out.slice(end);
  }
  return out;
}

/** `name@sha256:<64 hex>`. */
export const isPinnedImage = (image: string): boolean => /@sha256:[0-9a-f]{64}$/.test(image);

type Add = (severity: Finding["severity"], path: string, node: unknown, message: string) => void;

function lintService(name: string, service: unknown, add: Add): void {
  const path = `services.${name}`;
  if (!isMap(service)) {
    add("error", path, service, "service is not a mapping");
    return;
  }
  const build = service.get("build", true);
  const image = service.get("image");
  if (build !== undefined) {
    add(
      "error",
      `${path}.build`,
      build,
      "`build` has no sources inside a guest; build the image here, push it to a registry and name it under `image`",
    );
  } else if (typeof image !== "string" || image === "") {
    add("error", path, service, "service has no `image`");
  } else if (!isPinnedImage(image)) {
    add(
      "warning",
      `${path}.image`,
      service.get("image", true),
      `image ${image} is not pinned by digest: whoever controls the registry can change what runs; write ${image.split("@")[0]}@sha256:...`,
    );
  }
  if (service.get("privileged") === true)
    add(
      "warning",
      `${path}.privileged`,
      service.get("privileged", true),
      "a privileged container can read the disk key and every secret of the guest",
    );
  lintEnvironment(path, service, add);
  lintVolumes(path, service, add);
}

function lintEnvironment(path: string, service: YAMLMap, add: Add): void {
  const envFile = service.get("env_file", true);
  if (envFile !== undefined)
    add(
      "warning",
      `${path}.env_file`,
      envFile,
      "files beside the compose file do not travel to the guest; pass values as encrypted environment variables",
    );
}

function lintVolumes(path: string, service: YAMLMap, add: Add): void {
  const volumes = service.get("volumes", true);
  if (!isSeq(volumes)) return;
  volumes.items.forEach((item, i) => {
    const source = isMap(item)
      ? item.get("source")
      : isScalar(item) && typeof item.value === "string"
        ? item.value.split(":")[0]
        : undefined;
    if (typeof source !== "string") return;
    if (source === "/var/run/docker.sock" || source === "/run/docker.sock")
      add("warning", `${path}.volumes[${i}]`, item, "a container with Docker's socket controls the whole guest");
    else if (source.startsWith(".") || source.startsWith("~"))
      add(
        "warning",
        `${path}.volumes[${i}]`,
        item,
        `${source} is relative to a folder that does not survive a restart; use a named volume`,
      );
  });
}

function lintHostFiles(document: Document, add: Add): void {
  for (const section of ["configs", "secrets"]) {
    const entries = document.get(section);
    if (!isMap(entries)) continue;
    for (const pair of entries.items as Pair[]) {
      if (isMap(pair.value) && pair.value.get("file") !== undefined) {
        add(
          "error",
          `${section}.${String(pair.key)}`,
          pair.value,
          "`file` is not there inside a guest; use `content` or `environment`",
        );
      }
    }
  }
}

function imageScalars(yamlText: string): { image: string; start: number; end: number }[] {
  const document = parseDocument(yamlText, { prettyErrors: true });
  const error = document.errors[0];
  if (error !== undefined)
    throw new ComposeError("yaml-invalid", `docker-compose file is not valid YAML: ${error.message}`, { cause: error });
  const services = document.get("services");
  if (!isMap(services)) return [];
  return (services.items as Pair[]).flatMap(({ value }) => {
    const image = isMap(value) ? value.get("image", true) : undefined;
    return isScalar(image) && typeof image.value === "string" && image.range !== null && image.range !== undefined
      ? [{ image: image.value, start: image.range[0], end: image.range[1] }]
      : [];
  });
}
