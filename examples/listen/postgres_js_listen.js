// Prints the changes of a query's rows: postgres.js. It listens on a connection of its own, and again after that is lost.
const postgres = require('postgres')

const sql = postgres({
  host: process.env.PGHOST ?? '127.0.0.1',
  port: Number(process.env.PGPORT ?? 5432),
  user: process.env.PGUSER ?? 'postgres',
  database: process.env.PGDATABASE ?? 'postgres',
})

sql.listen(process.argv[2], (payload) => console.log(payload))
