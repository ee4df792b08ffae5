// Many subscribers of one order. Arguments: where npm's packages are, the gateway, a token, the order, how many.
// It reads a line for each step, and prints it when it is done; at the end it prints what everybody saw.
// - `break`: all connections are lost without a word, and everybody tries to come back at once.
// - `away`: the same, but nobody comes back before `back`.
// - `back`: everybody may come back, and is connected again.
// - a number: everybody has heard of that many changes.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Live } from '../../gateway/site/shop/live.js';

const [packages, gateway, token, order, count] = process.argv.slice(2);
const signalR = createRequire(join(packages, 'package.json'))('@microsoft/signalr');

// The sockets, to be broken as a network breaks them.
const sockets = new Set();
const WebSocket = createRequire(createRequire(join(packages, 'package.json')).resolve('@microsoft/signalr'))('ws');
class Socket extends WebSocket {
  constructor(...arguments_) {
    super(...arguments_);
    sockets.add(this);
    this.on('close', () => sockets.delete(this));
  }
}

// Nobody connects while it is there.
let gate = null;
let open = () => {};
let breaks = 0;

const clients = [];
for (let n = 0; n < Number(count); n++) {
  const client = { seen: [], connections: 0, refused: null };
  client.live = new Live({
    signalR: {
      ...signalR,
      HubConnectionBuilder: class extends signalR.HubConnectionBuilder {
        withUrl(url, options) {
          return super.withUrl(url, { ...options, WebSocket: Socket });
        }
      },
    },
    url: `${gateway}/orders/subscriptions`,
    token: async () => {
      await gate;
      return token;
    },
    onState: (state) => { if (state === 'connected') client.connections += 1; },
  });
  client.live.subscribe(
    { query: 'subscription ($id: ID!) { order(id: $id) { status } }', variables: { id: order } },
    (payloads) => { for (const { data } of payloads) client.seen.push(data?.order?.status ?? null); },
    (errors) => { client.refused = errors; },
  );
  clients.push(client);
}

const until = async (what, holds) => {
  const end = Date.now() + 120_000;
  while (!clients.every(holds)) {
    if (Date.now() > end) {
      const late = clients.filter((client) => !holds(client));
      throw new Error(`${what}: ${late.length} of ${clients.length} are late, as ${JSON.stringify(late[0].seen)}, ${JSON.stringify(late[0].refused)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

await Promise.all(clients.map((client) => client.live.start()));
await until('the beginning', (client) => client.seen.length >= 1);
console.log('subscribed');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'break' || line === 'away') {
    if (line === 'away') gate = new Promise((resolve) => { open = resolve; });
    breaks += 1;
    for (const socket of sockets) socket.terminate();
  } else if (line === 'back') {
    open();
    gate = null;
    await until('everybody is back', (client) => client.connections > breaks);
  } else {
    await until(`${line} changes`, (client) => client.seen.length > Number(line));
  }
  console.log(line);
}
const different = new Map();
for (const client of clients) {
  const seen = JSON.stringify(client.seen);
  different.set(seen, (different.get(seen) ?? 0) + 1);
}
console.log(JSON.stringify({
  seen: [...different].map(([seen, subscribers]) => ({ seen: JSON.parse(seen), subscribers })),
  connections: Math.min(...clients.map((client) => client.connections)),
}));
await Promise.all(clients.map((client) => client.live.stop()));
