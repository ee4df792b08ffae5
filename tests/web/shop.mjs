// The shop's page in a browser. Arguments: where npm's packages are, the browser, the gateway, a file for a screenshot.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { open } from './browser.mjs';

const [packages, chromium, gateway, picture] = process.argv.slice(2);
const WebSocket = createRequire(join(packages, 'package.json'))('ws');
const page = await open(WebSocket, chromium, `${gateway}/shop/`);
try {
  await page.until('the page is live', "document.getElementById('state').dataset.state === 'connected'");
  // Lost if the page were loaded again.
  await page.look('window.sameDocument = true');
  await page.type('#customer input[name=customer]', 'browser');
  await page.click('#customer button');
  await page.until('the customer has no orders', "document.getElementById('orders').textContent === '0'");
  await page.until('it is live again', "document.getElementById('state').dataset.state === 'connected'");
  // Every state that the row shows, in order.
  await page.look(`(() => {
    window.states = [];
    new MutationObserver(() => {
      const status = document.querySelector('#list tr .status')?.dataset.status;
      if (status !== undefined && status !== window.states.at(-1)) window.states.push(status);
    }).observe(document.getElementById('list'), { childList: true, subtree: true });
  })()`);
  await page.type('#place input[name=sku]', 'BROWSER-1');
  await page.type('#place input[name=quantity]', '3');
  await page.type('#place input[name=unitPrice]', '2.55');
  await page.click('#place button');
  await page.until('the order is confirmed', "document.querySelector('#list tr .status[data-status=CONFIRMED]') !== null");
  await page.until('the totals know it', "document.getElementById('revenue').textContent === '7.65'");
  await page.until('it says that it is placed', "document.getElementById('said').textContent === 'Placed.'");
  const seen = await page.look(`({
    same: window.sameDocument === true,
    states: window.states,
    rows: document.querySelectorAll('#list tr').length,
    orders: document.getElementById('orders').textContent,
  })`);
  // The service refuses a price with too many decimals, and the page says why.
  await page.type('#place input[name=unitPrice]', '0.123456');
  await page.look("document.querySelector('#place input[name=unitPrice]').removeAttribute('pattern')");
  await page.click('#place button');
  const refusal = await page.until('the refusal', "document.querySelector('#said.failed')?.textContent");
  if (picture !== undefined) await page.screenshot(picture);
  console.log(JSON.stringify({ ...seen, refusal, problems: page.problems }));
} finally {
  await page.close();
}
