/*
description: How delays build up over the day.
parameters:
  origin: {type: string, values: [EWR, JFK, LGA], required: true, description: The airport}
examples:
  - {origin: LGA}
*/
SELECT
  hour,
  count(*) AS flights,
  round(avg(dep_delay), 2) AS mean_departure_delay,
  round(quantile_cont(dep_delay, 0.9), 1) AS p90_departure_delay
FROM flights
WHERE origin = $origin AND dep_delay IS NOT NULL
GROUP BY hour
ORDER BY hour
