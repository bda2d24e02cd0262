/*
description: What left last, as far as is known; watch it while `load.py` sends departures.
key: [carrier, flight, departed_at]
*/
SELECT departed_at, carrier, flight, origin, delay
FROM departures
ORDER BY departed_at DESC, carrier, flight
LIMIT 12
