-- Who are the ten users with most songs?
select
    user_id,
    level,
    active_days,
    songs,
    distinct_songs
from {{ target.schema }}_published.dim_users
order by songs desc, user_id
limit 10
