import { Option } from "@commander-js/extra-typings";
import { examples, output, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of guest OS images are called with. */

export const imageCommand = (parent: Parent) => parent.command("image").summary("build and list guest OS images");

export const imageBuildCommand = (parent: Parent) =>
  parent
    .command("build")
    .summary("build a guest OS image from pinned Debian packages")
    .addOption(new Option("--flavour <flavour>", "which image").choices(["prod", "dev", "sim"]).default("sim"))
    .option("--update-lock", "resolve the packages anew and print what changed")
    .addHelpText("before", examples(["dstack image build", "dstack image build --flavour prod"]));
export type ImageBuildOptions = OptionsOf<typeof imageBuildCommand>;

export const imageListCommand = (parent: Parent) =>
  parent
    .command("list")
    .summary("list the guest OS images on this host")
    .addOption(output())
    .addHelpText("before", examples(["dstack image list"]));
export type ImageListOptions = OptionsOf<typeof imageListCommand>;
