import { comparable } from "./auth-config.ts";
import type { PolicyDocument } from "./policy-document.ts";

/**
 * What empty lists of a policy mean here, where the reference's dstack-auth reads them the other way round: "any"
 * there, "none" here. One line each, with the command that says "any" here, where there is one. Pure.
 */
export function emptyListNotes({ osImages, kms, apps = {} }: PolicyDocument): readonly string[] {
  const isEmptyFor = (owner: {
    readonly devices?: string[] | undefined;
    readonly allowAnyDevice?: boolean | undefined;
  }) => owner.devices?.length === 0 && owner.allowAnyDevice !== true;
  return [
    ...((osImages ?? []).length === 0
      ? ["osImages is empty: no image may boot here, any for dstack-auth; dstack auth allow os-image IMAGE"]
      : []),
    ...(kms !== undefined && isEmptyFor(kms)
      ? [
          'kms.devices is empty: no device may run a KMS here, any for dstack-auth; say "allowAnyDevice": true in the file',
        ]
      : []),
    ...Object.entries(apps).flatMap(([id, app]) =>
      isEmptyFor(app)
        ? [
            `apps.${comparable(id)}.devices is empty: no device may boot it here, any for dstack-auth; dstack auth allow any-device --app ${comparable(id)}`,
          ]
        : [],
    ),
  ];
}
