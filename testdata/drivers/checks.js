// What the Node.js driver programs share: connection parameters, one printed line a check, live queries.
'use strict'
const { isDeepStrictEqual, inspect } = require('node:util')
const told = require('./live.json')

exports.settings = {
  host: process.env.PGHOST || '127.0.0.1',
  port: Number(process.env.PGPORT || 5432),
  user: process.env.PGUSER || 'postgres',
  database: process.env.PGDATABASE || 'postgres',
}

exports.equal = (name, found, expected) => {
  if (!isDeepStrictEqual(found, expected)) {
    console.log(`not ok - ${name}: expected ${inspect(expected)}, found ${inspect(found)}`)
    process.exit(1)
  }
  console.log(`ok - ${name}`)
}

// Runs `work`, which must fail, and gives its error.
exports.failure = async (name, work) => {
  let error = null
  try {
    await work()
  } catch (caught) {
    error = caught
  }
  if (error === null) exports.equal(name, 'no error', 'an error')
  return error
}

// What a callback is told, in order; `next` waits a bounded time for it.
exports.Inbox = class {
  #items = []
  #waiting = null

  push = (item) => {
    this.#items.push(item)
    this.#waiting?.()
  }

  async next(count) {
    const timer = setTimeout(() => exports.equal('notifications arrive', this.#items, `${count} of them`), 20_000)
    while (this.#items.length < count) await new Promise((resolve) => { this.#waiting = resolve })
    clearTimeout(timer)
    return this.#items.splice(0, count)
  }
}

// The live query of live.json over `table`, the statements that change the table, and what is then told: of room 7 only.
exports.live = (table) => {
  const named = (text) => text.replaceAll('{0}', table)
  return { create: named(told.create), query: named(told.query), changes: told.changes.map(named), events: told.events }
}

// Whether the server, by its version(), has live queries; what is skipped on PostgreSQL is said.
exports.hasLive = (version) => {
  if (!version.includes('KalamDB')) console.log('SKIPPED - live query: PostgreSQL has none')
  return version.includes('KalamDB')
}

// One check of a live query's payloads; their positions ascend, and are not compared otherwise.
exports.liveEqual = (name, payloads, expected) => {
  const events = payloads.map((payload) => JSON.parse(payload))
  exports.equal(name, events.map(({ seq, ...event }) => event), expected)
  const positions = events.map((event) => event.seq)
  exports.equal(`${name}: positions`, positions, [...positions].sort((a, b) => a - b))
}
