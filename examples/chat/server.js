// A chat page for each ?room=N. Messages are posted with INSERT; a live query tells the page of every change.
'use strict'
const { readFileSync } = require('node:fs')
const http = require('node:http')
const { Client, Pool, escapeIdentifier } = require('pg')

const { PGHOST = '127.0.0.1', PGUSER = 'postgres', PGDATABASE = 'postgres', PORT = 8080 } = process.env
const settings = { host: PGHOST, user: PGUSER, database: PGDATABASE }
const page = readFileSync(`${__dirname}/page.html`)
const pool = new Pool(settings)
// An idle connection was lost: the next query makes another.
pool.on('error', () => {})

// Server-sent events, one a notification, from a connection of the page's own. An event's id is the position up to
// which the page is then current: a browser that connects again says it, and is told what it missed.
async function events(room, request, response) {
  const client = new Client(settings)
  client.on('error', () => {})
  client.on('end', () => response.end())
  client.on('notification', ({ payload }) => {
    const { op, seq, last } = JSON.parse(payload)
    response.write(`${last || op === 'ready' ? `id: ${seq}\n` : ''}data: ${payload}\n\n`)
  })
  response.on('close', () => client.end())
  const channel = escapeIdentifier(`SELECT id, author, body FROM messages WHERE room = ${room}`)
  const listen = (option) => client.query(`LISTEN ${channel} WITH (${option})`)
  const anew = () => {
    response.write('data: {"op":"reset"}\n\n')
    return listen('snapshot = true')
  }
  // Before the database is asked: a browser connects again after a stream that ends, not after an error.
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write('retry: 500\n\n')
  await client.connect()
  const since = request.headers['last-event-id']
  if (!/^\d+$/.test(since)) return anew()
  // 22023: the position is not of this database, which was made anew meanwhile.
  await listen(`since = ${since}`).catch((error) => {
    if (error.code === '22023') return anew()
    throw error
  })
}

async function post(room, request, response) {
  let text = ''
  for await (const chunk of request) if ((text += chunk).length > 10_000) throw new Error('too long')
  const { author, body } = JSON.parse(text)
  await pool.query('INSERT INTO messages (room, author, body) VALUES ($1, $2, $3)', [room, author, body])
  response.writeHead(204).end()
}

const server = http.createServer(async (request, response) => {
  try {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost')
    // Part of the live query's text, so it must be a number: an int4, which is what `| 0` makes.
    const room = Number(searchParams.get('room') ?? 1)
    if (room !== (room | 0)) response.writeHead(400).end('a room is a number')
    else if (pathname === '/events') await events(room, request, response)
    else if (pathname === '/messages' && request.method === 'POST') await post(room, request, response)
    else response.writeHead(200, { 'content-type': 'text/html' }).end(page)
  } catch (error) {
    console.error(error.message)
    if (!response.headersSent) response.writeHead(500)
    response.end()
  }
})

pool.query(`CREATE TABLE IF NOT EXISTS messages (id bigserial PRIMARY KEY, room integer NOT NULL, author text NOT NULL, body text NOT NULL);
            CREATE INDEX IF NOT EXISTS messages_room ON messages (room)`)
  .then(() => server.listen(PORT, '127.0.0.1', () => console.log(`http://127.0.0.1:${PORT}/?room=1`)))
