-- How often do users look at the other plan, and how often do they change?
select
    direction,
    sum(visits) as visits,
    sum(submits) as submits,
    round(try_divide(sum(submits), sum(visits)), 3) as submits_per_visit
from {{ target.schema }}_published.weekly_plan_change_funnel
group by direction
order by direction
