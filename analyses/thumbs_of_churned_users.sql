-- Do users who cancel like fewer of the songs they rate?
select
    users.is_churned,
    sum(days.thumbs_up) as thumbs_up,
    sum(days.thumbs_down) as thumbs_down,
    round(try_divide(sum(days.thumbs_up), sum(days.thumbs_up + days.thumbs_down)), 3)
        as liked_share
from {{ target.schema }}_published.fct_user_days as days
inner join {{ target.schema }}_published.dim_users as users on days.user_id = users.user_id
group by users.is_churned
order by users.is_churned
