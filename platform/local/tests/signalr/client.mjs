// Clients of a hub with the official package, driven by lines of JSON on standard input; each is answered by one line.
// Arguments: the folder with node_modules, and the URL below which the app answers /negotiate.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { HubConnectionBuilder, LogLevel, VERSION } = createRequire(process.argv[2] + '/')('@microsoft/signalr');
process.stderr.write(`@microsoft/signalr ${VERSION}\n`);

const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');
const clients = [];
let reconnected = 0;
let waiting = null;

// Answers once every client has what it waits for.
const check = () => {
  if (waiting?.received !== undefined && clients.every((one) => one.received.length >= waiting.received)) {
    const first = JSON.stringify(clients[0].received);
    const same = clients.every((one) => JSON.stringify(one.received) === first);
    say({ received: clients[0].received, same });
    waiting = null;
  } else if (waiting?.reconnected !== undefined && reconnected >= waiting.reconnected) {
    say({ reconnected });
    waiting = null;
  }
};

const connect = async (path) => {
  const connection = new HubConnectionBuilder()
    .withUrl(process.argv[3] + path)
    .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => 10 })
    .configureLogging(LogLevel.None)
    .build();
  const client = { connection, received: [] };
  connection.on('next', (n) => {
    client.received.push(n);
    check();
  });
  connection.onreconnected(() => {
    reconnected += 1;
    check();
  });
  await connection.start();
  return client;
};

const commands = {
  // So many clients, each a user of its own.
  async start({ count }) {
    clients.push(...(await Promise.all(Array.from({ length: count }, (_, n) => connect(`?user=user-${n}`)))));
    say({ started: clients.length });
  },
  // A call by each client.
  async invoke({ target, args }) {
    const call = (one) => one.connection.invoke(target, ...args).catch((error) => `error: ${error.message}`);
    say({ results: await Promise.all(clients.map(call)) });
  },
  // One connection that should not come about.
  async refused({ path }) {
    const result = await connect(path).then(() => 'connected', (error) => error.message);
    say({ refused: result });
  },
  async wait(what) {
    waiting = what;
    check();
  },
  async stop() {
    await Promise.all(clients.map((one) => one.connection.stop()));
    say({ stopped: clients.length });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await commands[command.do](command);
}
