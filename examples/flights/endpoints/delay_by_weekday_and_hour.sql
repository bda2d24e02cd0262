/*
description: When in the week flights leave late, by the local hour they are scheduled for.
parameters:
  first: {type: date, required: true, description: The first local day}
  last: {type: date, required: true, description: The last local day}
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
examples:
  - {first: 2013-07-01, last: 2013-07-31}
*/
SELECT
  ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][isodow(make_date(year, month, day))] AS weekday,
  hour,
  count(*) AS flights,
  round(avg(dep_delay), 1) AS mean_delay
FROM flights
WHERE dep_delay IS NOT NULL AND make_date(year, month, day) BETWEEN $first AND $last
  AND ($origin IS NULL OR origin = $origin)
GROUP BY weekday, isodow(make_date(year, month, day)), hour
HAVING count(*) >= 5
ORDER BY isodow(make_date(year, month, day)), hour
