-- Which share of the active users pays?
select
    week_start_date,
    paid_users,
    free_users,
    round(paid_share, 3) as paid_share
from {{ target.schema }}_published.weekly_kpis
where is_complete
order by week_start_date
