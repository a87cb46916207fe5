-- In which metropolitan areas do most users live, and cancel?
-- The thousand with most users; `all_areas` counts the others too.
select
    metro_area,
    state,
    count(*) as users,
    count_if(is_churned) as churned_users,
    try_divide(count_if(is_churned), count(*)) as churn_rate,
    count(*) over () as all_areas
from {{ target.schema }}_published.dim_users
where metro_area is not null
group by metro_area, state
order by users desc, metro_area, state
limit 1000
