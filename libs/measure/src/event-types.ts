/** Event types of the TCG firmware profile that a dstack boot logs. */
export const eventType = {
  noAction: 0x3,
  separator: 0x4,
  tagged: 0x6,
  platformConfigFlags: 0xa,
  efiVariableDriverConfig: 0x8000_0001,
  efiVariableBoot: 0x8000_0002,
  efiBootServicesApplication: 0x8000_0003,
  efiAction: 0x8000_0007,
  efiHandoffTables: 0x8000_0009,
  efiFirmwareBlob2: 0x8000_000a,
  efiHandoffTables2: 0x8000_000b,
} as const;
