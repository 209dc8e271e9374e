import type { Pair } from "yaml";
import { ComposeError } from "../errors.ts";

export interface ComposeProject {
  readonly name: string;
  readonly services: readonly string[];
  /** Image by service, as the file writes it: variables are not filled in. */
  readonly images: ReadonlyMap<string, string>;
}

/**
 * Project name and service names of a docker-compose.yaml.
 * @param defaultName the name of the folder that the file lies in
 * @throws ComposeError `yaml-invalid`
 */
export async function composeProject(yamlText: string, defaultName: string): Promise<ComposeProject> {
  // Loaded when needed: the guest, which must start fast, asks for this one thing, late in its boot.
  const { isMap, isScalar, parseDocument } = await import("yaml");
  const document = parseDocument(yamlText);
  const error = document.errors[0];
  if (error !== undefined)
    throw new ComposeError("yaml-invalid", `docker-compose file is not valid YAML: ${error.message}`, { cause: error });
  const services = document.get("services");
  if (!isMap(services)) throw new ComposeError("yaml-invalid", "docker-compose file has no `services`");
  const name = document.get("name");
  const rows = (services.items as Pair[]).map((pair): [string, unknown] => [
    String(isScalar(pair.key) ? pair.key.value : pair.key),
    isMap(pair.value) ? pair.value.get("image") : undefined,
  ]);
  return {
    name: typeof name === "string" && name !== "" ? name : defaultName,
    services: rows.map(([service]) => service),
    images: new Map(rows.filter((row): row is [string, string] => typeof row[1] === "string")),
  };
}
