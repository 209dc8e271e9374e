import { z } from "zod";

/** One key of a schema: what a page, a check or a suggestion needs to know of it. */
export interface SchemaKey {
  /** As dots join it: `core.proxy.listen_port`. */
  readonly key: string;
  /** What the file may say there, in a reader's words: `text`, `whole number`, `"a" or "b"`, a `meta({ title })`. */
  readonly type: string;
  /** What an absent key stands for, as the file would say it; undefined where there is none. */
  readonly default: unknown;
  readonly required: boolean;
  /** Its `.describe()`; empty where there is none. */
  readonly meaning: string;
}

/** Every key of an object schema, tables walked through, in the order of the schema. */
export function schemaKeys(schema: z.ZodType, path = ""): SchemaKey[] {
  return Object.entries(shapeOf(schema) ?? {}).flatMap(([name, child]) => {
    const key = path === "" ? name : `${path}.${name}`;
    return shapeOf(child) === undefined ? [leaf(key, child)] : schemaKeys(child, key);
  });
}

/** The members of an object schema below its defaults and transforms; undefined for any other. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | undefined {
  const inner = layersOf(schema).at(-1);
  return inner instanceof z.ZodObject ? (inner.shape as Record<string, z.ZodType>) : undefined;
}

function leaf(key: string, schema: z.ZodType): SchemaKey {
  const layers = layersOf(schema);
  const given = layers.find((layer) => layer instanceof z.ZodDefault || layer instanceof z.ZodPrefault);
  return {
    key,
    type: layers.map((layer) => layer.meta()?.title).find((title) => title !== undefined) ?? typeOf(layers.at(-1)),
    default: given?.def.defaultValue,
    required: !schema.safeParse(undefined).success,
    meaning: layers.map(({ description }) => description).find((text) => text !== undefined) ?? "",
  };
}

/** From the outside in: default, optional, the incoming end of a transform, at last the type itself. */
function layersOf(schema: z.ZodType): z.ZodType[] {
  const { innerType, in: incoming } = schema.def as { innerType?: z.ZodType; in?: z.ZodType };
  const next = innerType ?? incoming;
  return next === undefined ? [schema] : [schema, ...layersOf(next)];
}

function typeOf(schema: z.ZodType | undefined): string {
  if (schema instanceof z.ZodString) return "text";
  if (schema instanceof z.ZodNumber) return schema.isInt ? "whole number" : "number";
  if (schema instanceof z.ZodBoolean) return "true or false";
  if (schema instanceof z.ZodEnum) return schema.options.map((option) => JSON.stringify(option)).join(", ");
  if (schema instanceof z.ZodArray) return `list of ${typeOf(layersOf(schema.def.element as z.ZodType).at(-1))}`;
  if (schema instanceof z.ZodUnion)
    return (schema.options as z.ZodType[]).map((option) => typeOf(layersOf(option).at(-1))).join(" or ");
  return "table";
}
