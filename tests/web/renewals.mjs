// How often the page's client connects while its token is about to end, by a clock that does not wait: who gives tokens
// keeps the old one, of five minutes, until it is over. It prints when the client connected, how long its token still held,
// and whether it was taken, all in seconds.
import { Live } from '../../gateway/site/shop/live.js';

const LEAST = 10;
let now = 0;
let ids = 0;
const timers = new Map();
globalThis.setTimeout = (does, milliseconds) => {
  timers.set(++ids, { does, at: now + milliseconds / 1000 });
  return ids;
};
globalThis.clearTimeout = (id) => timers.delete(id);
Math.random = () => 1;

const token = () => (now < 300 ? 300 : 3900);
const attempts = [];
class Connection {
  state = 'Disconnected';
  constructor(token) { this.token = token; }
  on() {}
  onclose() {}
  async start() {
    this.end = this.token();
    const left = this.end - now;
    attempts.push({ at: now, left, taken: left >= LEAST });
    if (left < LEAST) throw new Error('401');
    this.state = 'Connected';
  }
  async stop() { this.state = 'Disconnected'; }
  async invoke() {
    const expiresIn = Math.min(1800, Math.floor(this.end - now));
    if (expiresIn <= 0) return { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] };
    return { group: 'g', number: 0, payloads: [], expiresIn };
  }
}
class HubConnectionBuilder {
  withUrl(_, { accessTokenFactory }) { this.token = accessTokenFactory; return this; }
  configureLogging() { return this; }
  build() { return new Connection(this.token); }
}
const signalR = { HubConnectionBuilder, HubConnectionState: { Connected: 'Connected' }, LogLevel: {} };

const settled = () => new Promise((resolve) => setImmediate(resolve));
const live = new Live({ signalR, url: '/', token });
live.subscribe({ query: '' }, () => {});
live.start();
for (;;) {
  await settled();
  const [id, next] = [...timers].sort(([, a], [, b]) => a.at - b.at)[0];
  if (next.at > 1800) break;
  timers.delete(id);
  now = next.at;
  next.does();
}
console.log(JSON.stringify(attempts));
