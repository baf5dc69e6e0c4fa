// The Prometheus operator's own schemas over the documents on standard input (a JSON array). Argument: where npm
// installed @kubernetes-models/prometheus-operator. Node looks for packages beside the importing file, so the import
// is made from there.
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const here = `${process.argv[2]}/import.mjs`;
writeFileSync(here, "export * from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';\n");
const kinds = await import(pathToFileURL(here));
for (const doc of JSON.parse(readFileSync(0, 'utf8'))) {
  const Kind = kinds[doc.kind];
  if (Kind === undefined) throw new Error(`no schema for ${doc.kind}`);
  new Kind(doc).validate();
}
