// A headless Chromium, driven by its DevTools protocol: as much of it as the tests need.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// `answers` is asked before the network is: given a URL and a body, it may say a status, headers and a body.
export async function open(WebSocket, chromium, url, answers = null) {
  const profile = mkdtempSync(join(tmpdir(), 'skein-browser-'));
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-dev-shm-usage', '--window-size=1100,900'];
  const browser = spawn(chromium, [...flags, `--user-data-dir=${profile}`, '--remote-debugging-port=0', 'about:blank'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise((resolve) => browser.on('exit', resolve));
  const address = await new Promise((resolve, reject) => {
    let said = '';
    browser.on('error', reject);
    browser.stderr.on('data', (chunk) => {
      said += chunk;
      const found = /DevTools listening on (ws:\/\/\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
    ended.then(() => reject(new Error(`the browser ended: ${said}`)));
  });
  const socket = new WebSocket(address);
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  const waiting = new Map();
  const problems = [];
  let ids = 0;
  let session;
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.id !== undefined) {
      const { resolve, reject } = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error) reject(new Error(message.error.message));
      else resolve(message.result);
    } else if (message.method === 'Fetch.requestPaused') {
      const { requestId, request } = message.params;
      const answer = answers(request.url, request.postData);
      if (answer === undefined) {
        send('Fetch.continueRequest', { requestId });
        return;
      }
      const responseHeaders = Object.entries(answer.headers).map(([name, value]) => ({ name, value }));
      const body = Buffer.from(answer.body).toString('base64');
      send('Fetch.fulfillRequest', { requestId, responseCode: answer.status, responseHeaders, body });
    } else if (message.method === 'Runtime.exceptionThrown') {
      problems.push(message.params.exceptionDetails.exception?.description ?? message.params.exceptionDetails.text);
    } else if (message.method === 'Log.entryAdded' && message.params.entry.level === 'error') {
      problems.push(`${message.params.entry.text} ${message.params.entry.url ?? ''}`);
    }
  });
  const send = (method, params = {}) => new Promise((resolve, reject) => {
    const id = ++ids;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ id, method, params, sessionId: session }));
  });
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  ({ sessionId: session } = await send('Target.attachToTarget', { targetId, flatten: true }));
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`);
  if (answers !== null) await send('Fetch.enable');
  await send('Page.navigate', { url });

  return {
    problems,
    go: (to) => send('Page.navigate', { url: to }),
    // The value of an expression in the page.
    async look(expression) {
      const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    // The first value that is no longer falsy.
    async until(what, expression, limit = 60_000) {
      const end = Date.now() + limit;
      for (;;) {
        const value = await this.look(`(() => { try { return ${expression} } catch { return null } })()`);
        if (value) return value;
        if (Date.now() > end) {
          throw new Error(`${what}: not within ${limit} ms. The page says: ${await this.look('document.body.innerText')} Problems: ${problems.join('; ')}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async type(selector, text) {
      await this.look(`(() => { const it = document.querySelector(${JSON.stringify(selector)}); it.focus(); it.select(); })()`);
      await send('Input.insertText', { text });
    },
    async click(selector) {
      const { x, y } = await this.look(`(() => {
        const box = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
        return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
      })()`);
      for (const type of ['mousePressed', 'mouseReleased']) {
        await send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
      }
    },
    async screenshot(file) {
      const { data } = await send('Page.captureScreenshot', { format: 'png' });
      writeFileSync(file, Buffer.from(data, 'base64'));
    },
    async close() {
      await send('Browser.close').catch(() => {});
      await ended;
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
