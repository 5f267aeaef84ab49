// node knex.js URL FOLDER: runs the migrations of a folder, each in a transaction of its own, and prints which.
const knex = require('knex')({ client: 'pg', connection: process.argv[2] });

knex.migrate.latest({ directory: process.argv[3] })
  .then(([, done]) => console.log(JSON.stringify(done.map((path) => path.split('/').pop()))))
  .catch((error) => { console.error(error); process.exitCode = 1; })
  .finally(() => knex.destroy());
