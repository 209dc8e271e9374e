/** measurement.tdx.cbor of an image folder: what lite verification needs. */
export async function writeMeasurement(image: string): Promise<void> {
  await Promise.resolve(image);
}
