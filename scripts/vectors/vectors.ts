/** A value to write as JSON, a text, or bytes, by the file's path below tests/vectors. */
export type Vectors = Readonly<Record<string, unknown>>;
