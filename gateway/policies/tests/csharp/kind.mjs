// The kind of each document, as graphql-js understands it: one body a line, base64 of UTF-8 JSON, on standard input.
// Verdicts: query, mutation, subscription; `none` where the document is readable but nothing of it could be executed;
// `unreadable` where JSON or the parser refuses.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { parse, version } = createRequire(process.argv[2] + '/')('graphql');
process.stderr.write(`graphql-js ${version}\n`);

const verdict = (body) => {
  let request;
  let document;
  try {
    request = JSON.parse(body);
    document = parse(request.query);
  } catch {
    return 'unreadable';
  }
  if (document.definitions.some((d) => d.kind !== 'OperationDefinition' && d.kind !== 'FragmentDefinition')) return 'none';
  const operations = document.definitions.filter((d) => d.kind === 'OperationDefinition');
  const names = operations.map((operation) => operation.name?.value ?? '');
  if (operations.length > 1 && (names.includes('') || new Set(names).size !== names.length)) return 'none';
  const wanted = request.operationName ?? null;
  if (wanted === null) return operations.length === 1 ? operations[0].operation : 'none';
  const found = typeof wanted === 'string' && wanted !== '' ? operations[names.indexOf(wanted)] : undefined;
  return found?.operation ?? 'none';
};

const answers = [];
for await (const line of createInterface({ input: process.stdin })) {
  answers.push(verdict(Buffer.from(line, 'base64').toString('utf8')));
}
process.stdout.write(answers.map((answer) => answer + '\n').join(''));
