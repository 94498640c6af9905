// Opens the chat page (its address is the argument) in headless Chromium and changes rows behind its back with psql.
'use strict'
const { execFileSync } = require('node:child_process')
const { chromium } = require('playwright-core')

const PATIENCE_MS = 20_000
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const address = process.argv[2]
const profile = process.argv[3]
const sql = (text) => execFileSync('psql', ['-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-c', text], { encoding: 'utf8', timeout: PATIENCE_MS })

async function shows(page, name, expected) {
  const same = (wanted) => [...document.querySelectorAll('li')].map((item) => item.textContent).join('\n') === wanted
  try {
    await page.waitForFunction(same, expected.join('\n'), { timeout: PATIENCE_MS })
  } catch {
    console.log(`not ok - ${name}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(await page.locator('li').allTextContents())}`)
    process.exit(1)
  }
  console.log(`ok - ${name}`)
}

async function main() {
  const options = { executablePath: '/usr/bin/chromium', headless: true, args: ARGUMENTS, timeout: PATIENCE_MS }
  const browser = await chromium.launchPersistentContext(profile, options)
  sql("INSERT INTO messages (room, author, body) VALUES (7, 'ann', 'before')")
  const page = await browser.newPage()
  await page.goto(`${address}/?room=7`)
  await shows(page, 'the rows that are there', ['ann: before'])
  sql("INSERT INTO messages (room, author, body) VALUES (8, 'eve', 'elsewhere'), (7, 'bob', '<b>hi</b>'), (7, 'bob', 'two')")
  await shows(page, 'inserted rows of the room', ['ann: before', 'bob: <b>hi</b>', 'bob: two'])
  sql("UPDATE messages SET body = body || '!' WHERE author = 'bob'")
  await shows(page, 'updated rows', ['ann: before', 'bob: <b>hi</b>!', 'bob: two!'])
  sql("DELETE FROM messages WHERE body = 'two!'")
  await shows(page, 'a deleted row', ['ann: before', 'bob: <b>hi</b>!'])
  sql("UPDATE messages SET room = 15 - room")
  await shows(page, 'rows that come and go', ['eve: elsewhere'])
  await page.fill('[name=author]', 'cy')
  await page.fill('[name=body]', 'typed 🐘')
  await page.press('[name=body]', 'Enter')
  await shows(page, 'a message sent from the page', ['eve: elsewhere', 'cy: typed 🐘'])
  // The page's own connection is lost; what happens before the browser connects again is not.
  sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid(); DELETE FROM messages WHERE author = 'eve'")
  await shows(page, 'what a lost connection missed', ['cy: typed 🐘'])
  await browser.close()
}

main().catch((error) => {
  console.log(`not ok - ${error.stack}`)
  process.exit(1)
})
