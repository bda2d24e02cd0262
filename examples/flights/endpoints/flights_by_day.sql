/*
description: Flights and their mean departure delay, day by day and airport by airport.
columns: {day: date, origin: string, flights: integer, mean_delay: number}
key: [day, origin]
parameters:
  first: {type: date, required: true, description: The first local day}
  last: {type: date, required: true, max_span: {first: 366d}, description: The last local day}
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
examples:
  - {first: 2013-07-01, last: 2013-07-07, origin: JFK}
*/
SELECT
  make_date(year, month, day) AS day,
  origin,
  count(*) AS flights,
  round(avg(dep_delay), 1) AS mean_delay
FROM flights
WHERE make_date(year, month, day) BETWEEN $first AND $last AND ($origin IS NULL OR origin = $origin)
GROUP BY ALL
ORDER BY day, origin
