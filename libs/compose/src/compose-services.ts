import { isMap, isScalar, parseDocument, type Pair } from "yaml";
import { ComposeError } from "./errors.ts";

export interface ComposeProject {
  readonly name: string;
  readonly services: readonly string[];
}

/**
 * Project name and service names of a docker-compose.yaml.
 * @param defaultName the name of the folder that the file lies in
 * @throws ComposeError `yaml-invalid`
 */
export function composeProject(yamlText: string, defaultName: string): ComposeProject {
  const document = parseDocument(yamlText);
  const error = document.errors[0];
  if (error !== undefined) throw new ComposeError("yaml-invalid", `docker-compose file is not valid YAML: ${error.message}`, { cause: error });
  const services = document.get("services");
  if (!isMap(services)) throw new ComposeError("yaml-invalid", "docker-compose file has no `services`");
  const name = document.get("name");
  return {
    name: typeof name === "string" && name !== "" ? name : defaultName,
    services: (services.items as Pair[]).map((pair) => String(isScalar(pair.key) ? pair.key.value : pair.key)),
  };
}
