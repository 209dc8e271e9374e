import { type Command, Option } from "commander";
import type { StackLayout } from "../local/layout.ts";
import { type Common, examples, output } from "../terminal/options.ts";

/** Guest OS images. */
export function addImageCommands(program: Command, layout: StackLayout): void {
  const image = program.command("image").summary("build and list guest OS images");
  image
    .command("build")
    .summary("build a guest OS image from pinned Debian packages")
    .addOption(new Option("--flavour <flavour>", "which image").choices(["prod", "dev", "sim"]).default("sim"))
    .option("--update-lock", "resolve the packages anew and print what changed")
    .addHelpText("after", examples(["dstack image build", "dstack image build --flavour prod"]))
    .action(async (options: { flavour: "prod" | "dev" | "sim"; updateLock?: boolean }) =>
      (await import("./image.ts")).build(layout, options.flavour, options.updateLock ?? false),
    );
  image
    .command("list")
    .summary("list the guest OS images on this host")
    .addOption(output())
    .addHelpText("after", examples(["dstack image list"]))
    .action(async (options: Common) => (await import("./image.ts")).list(layout, options.output));
}
