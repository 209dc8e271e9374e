// Only this check is read by an old Node: everything newer stays behind the dynamic import.
const major = Number(process.versions.node.split(".")[0]);
if (major < 20) {
  process.stderr.write(
    "dstack: Node " +
      process.versions.node +
      " is too old to start with, 20 or newer is needed " +
      "(Debian 12's own nodejs is 18; any Node 20, 22, 24 or 26 will do: it only fetches the pinned one).\n" +
      "  mend: install Node 22, from nodejs.org or your version manager (nvm install 22), then run the same command again\n",
  );
  process.exit(1);
}
void import("./bootstrap/main.mjs").then(({ main }) => main(process.argv.slice(2)));
