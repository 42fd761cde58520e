// How much a browser loads: the build fails beyond. Sizes are those of gzip, as files are sent.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const KIB = 1024;
const page = readFileSync(new URL("../dist/index.html", import.meta.url), "utf8"); // names what it loads at once
const BUDGETS = [
  { what: "first page", files: { test: (name) => page.includes(name) && name.endsWith(".js") }, kib: 270 },
  { what: "one more page", files: { test: (name) => !page.includes(name) && /^(?!elk).*\.js$/.test(name) }, kib: 130 },
  { what: "arranging, when first wanted", files: /^elk.*\.js$/, kib: 460 },
  { what: "styles", files: /\.css$/, kib: 45 },
];
const folder = new URL("../dist/assets/", import.meta.url);
const sizes = readdirSync(folder).map((name) => ({
  name,
  bytes: gzipSync(readFileSync(new URL(name, folder))).length,
}));
for (const { what, files, kib } of BUDGETS) {
  const found = sizes.filter(({ name }) => files.test(name));
  const bytes =
    what === "one more page"
      ? Math.max(...found.map((one) => one.bytes))
      : found.reduce((sum, one) => sum + one.bytes, 0);
  process.stdout.write(`${what}: ${(bytes / KIB).toFixed(0)} of ${kib} KiB\n`);
  if (bytes > kib * KIB) {
    process.stderr.write(`${what} is over its budget\n`);
    process.exitCode = 1;
  }
}
