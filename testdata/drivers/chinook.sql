-- Queries over the Chinook sample database (data/chinook.sql); every answer has a total order.
\pset null '<null>'

-- 0. The rows of every table.
SELECT 'album' AS table_name, count(*) AS n FROM album
UNION ALL SELECT 'artist', count(*) FROM artist
UNION ALL SELECT 'customer', count(*) FROM customer
UNION ALL SELECT 'employee', count(*) FROM employee
UNION ALL SELECT 'genre', count(*) FROM genre
UNION ALL SELECT 'invoice', count(*) FROM invoice
UNION ALL SELECT 'invoice_line', count(*) FROM invoice_line
UNION ALL SELECT 'media_type', count(*) FROM media_type
UNION ALL SELECT 'playlist', count(*) FROM playlist
UNION ALL SELECT 'playlist_track', count(*) FROM playlist_track
UNION ALL SELECT 'track', count(*) FROM track
ORDER BY table_name;

-- 1. The ten customers who spent most.
SELECT c.customer_id, c.first_name || ' ' || c.last_name AS customer, c.country,
       count(i.invoice_id) AS invoices, sum(i.total) AS spent, round(avg(i.total), 2) AS average
FROM customer c
JOIN invoice i ON i.customer_id = c.customer_id
GROUP BY c.customer_id
ORDER BY spent DESC, c.customer_id
LIMIT 10;

-- 2. Revenue by country: share of the whole and running total.
SELECT billing_country, sum(total) AS revenue,
       round(100 * sum(total) / sum(sum(total)) OVER (), 2) AS percent,
       sum(sum(total)) OVER (ORDER BY sum(total) DESC, billing_country) AS running
FROM invoice
GROUP BY billing_country
ORDER BY revenue DESC, billing_country;

-- 3. Revenue by month of one year, with the month before.
SELECT to_char(m, 'YYYY-MM') AS month, revenue, invoices,
       revenue - lag(revenue) OVER (ORDER BY m) AS change
FROM (SELECT date_trunc('month', invoice_date) AS m, sum(total) AS revenue, count(*) AS invoices
      FROM invoice
      WHERE invoice_date >= '2022-01-01' AND invoice_date < '2023-01-01'
      GROUP BY 1) s
ORDER BY m;

-- 4. Revenue by year and quarter, with the years' totals from a union.
SELECT extract(year FROM invoice_date) AS year, extract(quarter FROM invoice_date)::text AS quarter, sum(total) AS revenue
FROM invoice GROUP BY 1, 2
UNION ALL
SELECT extract(year FROM invoice_date), 'all', sum(total) FROM invoice GROUP BY 1
ORDER BY year, quarter;

-- 5. A pivot: years as columns, for the countries with more than one customer.
SELECT billing_country AS country,
       coalesce(sum(total) FILTER (WHERE extract(year FROM invoice_date) = 2021), 0) AS y2021,
       coalesce(sum(total) FILTER (WHERE extract(year FROM invoice_date) = 2022), 0) AS y2022,
       coalesce(sum(total) FILTER (WHERE extract(year FROM invoice_date) = 2023), 0) AS y2023,
       count(DISTINCT customer_id) AS customers
FROM invoice
GROUP BY billing_country
HAVING count(DISTINCT customer_id) > 1
ORDER BY country;

-- 6. Playlists without tracks.
SELECT p.playlist_id, p.name
FROM playlist p
LEFT JOIN playlist_track pt ON pt.playlist_id = p.playlist_id
WHERE pt.track_id IS NULL
ORDER BY p.playlist_id;

-- 7. Playlists with the number of tracks, their length and their genres.
SELECT p.playlist_id, p.name, count(t.track_id) AS tracks,
       make_interval(secs => (coalesce(sum(t.milliseconds), 0) / 1000)::int) AS length,
       count(DISTINCT t.genre_id) AS genres
FROM playlist p
LEFT JOIN playlist_track pt USING (playlist_id)
LEFT JOIN track t USING (track_id)
GROUP BY p.playlist_id, p.name
ORDER BY tracks DESC, p.playlist_id;

-- 8. Genres: tracks sold, revenue and share.
SELECT g.name AS genre, sum(il.quantity) AS sold, sum(il.unit_price * il.quantity) AS revenue,
       round(100.0 * sum(il.quantity) / (SELECT sum(quantity) FROM invoice_line), 1) AS percent
FROM invoice_line il
JOIN track t ON t.track_id = il.track_id
JOIN genre g ON g.genre_id = t.genre_id
GROUP BY g.genre_id, g.name
ORDER BY sold DESC, g.name;

-- 9. The employees' hierarchy.
WITH RECURSIVE staff AS (
    SELECT employee_id, first_name || ' ' || last_name AS name, title, 1 AS level, last_name::text AS path
    FROM employee WHERE reports_to IS NULL
    UNION ALL
    SELECT e.employee_id, e.first_name || ' ' || e.last_name, e.title, s.level + 1, s.path || ' > ' || e.last_name
    FROM employee e
    JOIN staff s ON e.reports_to = s.employee_id
)
SELECT repeat('  ', level - 1) || name AS name, title, level, path
FROM staff
ORDER BY path;

-- 10. Everybody below the general manager, counted per employee.
WITH RECURSIVE below AS (
    SELECT employee_id AS boss, employee_id FROM employee
    UNION
    SELECT b.boss, e.employee_id FROM below b JOIN employee e ON e.reports_to = b.employee_id
)
SELECT e.employee_id, e.last_name, count(*) - 1 AS below,
       string_agg(u.last_name, ', ' ORDER BY u.last_name) FILTER (WHERE u.employee_id <> e.employee_id) AS names
FROM below b
JOIN employee e ON e.employee_id = b.boss
JOIN employee u ON u.employee_id = b.employee_id
GROUP BY e.employee_id, e.last_name
ORDER BY below DESC, e.employee_id;

-- 11. The best customer of every country, by window ranking.
WITH spent AS (
    SELECT c.country, c.customer_id, c.last_name, sum(i.total) AS total
    FROM customer c JOIN invoice i USING (customer_id)
    GROUP BY c.country, c.customer_id, c.last_name
), ranked AS (
    SELECT *, rank() OVER w AS rank, count(*) OVER (PARTITION BY country) AS customers
    FROM spent
    WINDOW w AS (PARTITION BY country ORDER BY total DESC)
)
SELECT country, customer_id, last_name, total, customers
FROM ranked
WHERE rank = 1
ORDER BY country, customer_id;

-- 12. The support employees' sales, with and without customers.
SELECT e.employee_id, e.first_name, e.last_name, count(DISTINCT c.customer_id) AS customers,
       count(i.invoice_id) AS invoices, coalesce(sum(i.total), 0) AS sales
FROM employee e
LEFT JOIN customer c ON c.support_rep_id = e.employee_id
LEFT JOIN invoice i ON i.customer_id = c.customer_id
GROUP BY e.employee_id
ORDER BY sales DESC, e.employee_id;

-- 13. Artists with at least eight albums, and the titles.
SELECT ar.name, count(*) AS albums, string_agg(al.title, '; ' ORDER BY al.title) AS titles
FROM artist ar
JOIN album al USING (artist_id)
GROUP BY ar.artist_id, ar.name
HAVING count(*) >= 8
ORDER BY albums DESC, ar.name;

-- 14. Artists without an album: how many, first and last by name.
SELECT count(*) AS n, min(name) AS first, max(name) AS last
FROM artist ar
WHERE NOT EXISTS (SELECT 1 FROM album al WHERE al.artist_id = ar.artist_id);

-- 15. The most sold tracks, with ties.
SELECT t.track_id, t.name, ar.name AS artist, sum(il.quantity) AS sold
FROM invoice_line il
JOIN track t USING (track_id)
JOIN album al USING (album_id)
JOIN artist ar USING (artist_id)
GROUP BY t.track_id, t.name, ar.name
HAVING sum(il.quantity) >= 2
ORDER BY sold DESC, t.name, t.track_id
LIMIT 12;

-- 16. Tracks that were never sold, per media type.
SELECT m.name AS media_type, count(*) AS tracks,
       count(*) FILTER (WHERE il.track_id IS NULL) AS unsold,
       round(count(*) FILTER (WHERE il.track_id IS NULL)::numeric / count(*), 3) AS rate
FROM media_type m
JOIN track t USING (media_type_id)
LEFT JOIN (SELECT DISTINCT track_id FROM invoice_line) il USING (track_id)
GROUP BY m.media_type_id, m.name
ORDER BY tracks DESC, m.name;

-- 17. Classes of track lengths.
SELECT CASE WHEN milliseconds < 180000 THEN '1 short'
            WHEN milliseconds < 300000 THEN '2 medium'
            WHEN milliseconds < 600000 THEN '3 long'
            ELSE '4 very long' END AS class,
       count(*) AS n, min(milliseconds) AS shortest, max(milliseconds) AS longest,
       round(avg(milliseconds) / 1000, 1) AS seconds, round(sum(bytes) / 1048576.0, 1) AS megabytes
FROM track
GROUP BY 1
ORDER BY 1;

-- 18. The three longest tracks of the five largest genres.
SELECT genre, nr, name, milliseconds
FROM (SELECT g.name AS genre, t.name, t.milliseconds,
             row_number() OVER (PARTITION BY g.genre_id ORDER BY t.milliseconds DESC, t.track_id) AS nr
      FROM track t JOIN genre g USING (genre_id)
      WHERE g.genre_id IN (SELECT genre_id FROM track GROUP BY genre_id ORDER BY count(*) DESC, genre_id LIMIT 5)) s
WHERE nr <= 3
ORDER BY genre, nr;

-- 19. Customers above the average of their country (correlated), countries with several customers.
SELECT c.country, c.last_name, s.total
FROM customer c
JOIN (SELECT customer_id, sum(total) AS total FROM invoice GROUP BY customer_id) s USING (customer_id)
WHERE s.total > (SELECT avg(x.total)
                 FROM (SELECT sum(i2.total) AS total
                       FROM invoice i2 JOIN customer c2 USING (customer_id)
                       WHERE c2.country = c.country
                       GROUP BY i2.customer_id) x)
ORDER BY c.country, s.total DESC, c.last_name;

-- 20. Do the invoices' totals agree with their lines?
SELECT count(*) AS invoices, count(*) FILTER (WHERE i.total = l.total) AS agree, sum(i.total) AS total, max(l.lines) AS most_lines
FROM invoice i
JOIN LATERAL (SELECT sum(unit_price * quantity) AS total, count(*) AS lines FROM invoice_line il WHERE il.invoice_id = i.invoice_id) l ON true;

-- 21. Customers who bought Rock and Jazz, but nothing of Classical.
SELECT c.customer_id, c.last_name
FROM customer c
WHERE EXISTS (SELECT FROM invoice i JOIN invoice_line il USING (invoice_id) JOIN track t USING (track_id) JOIN genre g USING (genre_id)
              WHERE i.customer_id = c.customer_id AND g.name = 'Rock')
  AND EXISTS (SELECT FROM invoice i JOIN invoice_line il USING (invoice_id) JOIN track t USING (track_id) JOIN genre g USING (genre_id)
              WHERE i.customer_id = c.customer_id AND g.name = 'Jazz')
  AND c.customer_id NOT IN (SELECT i.customer_id FROM invoice i JOIN invoice_line il USING (invoice_id) JOIN track t USING (track_id)
                            JOIN genre g USING (genre_id) WHERE g.name = 'Classical')
ORDER BY c.customer_id;

-- 22. The days between two invoices of a customer, for the customers in Brazil.
SELECT c.last_name, i.invoice_id, i.invoice_date::date AS day,
       i.invoice_date::date - lag(i.invoice_date::date) OVER w AS days,
       sum(i.total) OVER w AS spent_so_far,
       first_value(i.total) OVER w AS first_total
FROM invoice i
JOIN customer c USING (customer_id)
WHERE c.country = 'Brazil' AND i.total > 3
WINDOW w AS (PARTITION BY c.customer_id ORDER BY i.invoice_date, i.invoice_id)
ORDER BY c.customer_id, i.invoice_date, i.invoice_id;

-- 23. Invoices by weekday: count, median, percentile and mode.
SELECT extract(isodow FROM invoice_date) AS weekday, trim(to_char(invoice_date, 'Day')) AS name, count(*) AS n,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY total) AS median,
       percentile_disc(0.9) WITHIN GROUP (ORDER BY total) AS p90,
       mode() WITHIN GROUP (ORDER BY total) AS mode
FROM invoice
GROUP BY 1, 2
ORDER BY 1;

-- 24. E-mail providers, and customers without company, fax or state.
SELECT split_part(email, '@', 2) AS provider, count(*) AS customers,
       count(company) AS with_company, count(*) - count(fax) AS without_fax,
       count(*) FILTER (WHERE state IS NULL) AS without_state,
       array_agg(DISTINCT country ORDER BY country) AS countries
FROM customer
GROUP BY 1
HAVING count(*) > 1
ORDER BY customers DESC, provider;

-- 25. The employees' ages when hired, the order of hiring, the time since the first, thirds by age.
SELECT last_name, birth_date::date AS born, hire_date::date AS hired, age(hire_date, birth_date) AS age_when_hired,
       dense_rank() OVER (ORDER BY hire_date) AS nr,
       hire_date - min(hire_date) OVER () AS since_first,
       ntile(3) OVER (ORDER BY birth_date, employee_id) AS third
FROM employee
ORDER BY hire_date, employee_id;
