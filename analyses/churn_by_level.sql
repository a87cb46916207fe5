-- Do paying users cancel more often than others?
select
    level,
    count(*) as users,
    count_if(is_churned) as churned_users,
    round(try_divide(count_if(is_churned), count(*)), 3) as churned_share
from {{ target.schema }}_published.dim_users
group by level
order by level
